"""Checkpoints of other programs become folders of this project, and the reverse."""
