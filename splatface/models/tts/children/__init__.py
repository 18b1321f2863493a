"""Programs that hold one foreign library each and answer over a pipe; nothing here is imported."""
