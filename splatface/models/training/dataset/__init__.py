"""Pictures, motion and sound of one person on disk, in one format for real and synthetic people."""
