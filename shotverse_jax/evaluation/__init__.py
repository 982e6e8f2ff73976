"""Scores of planned trajectories and of generated films."""
