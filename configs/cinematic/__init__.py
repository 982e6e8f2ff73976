"""Training configs of cinematic language."""
