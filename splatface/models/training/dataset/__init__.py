"""Data sets of one person: images, labels, motion and audio, one format for real and synthetic people."""
