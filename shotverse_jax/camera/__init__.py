"""Pose algebra, trajectories and their similarity, motion tags, pose tokens and trajectory files."""
