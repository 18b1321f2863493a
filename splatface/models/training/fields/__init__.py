"""What moves Gaussians: attention (GaussianTalker), audio planes (Audio-Plane), the linear basis (ours)."""
