"""Training corpus of synthetic and real speech with phone times, and the mouth modes of its phones."""
