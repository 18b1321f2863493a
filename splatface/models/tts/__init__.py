"""Text to sound, with the time of every word."""
