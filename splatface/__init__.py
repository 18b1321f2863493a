"""3D Gaussian Splatting heads that talk: trained from a video, driven live by speech."""

__version__ = "0.1.0"
