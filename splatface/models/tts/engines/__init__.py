"""The engines, one module each: imported only when one of its voices is asked for."""
