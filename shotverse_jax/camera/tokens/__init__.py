"""Trajectories as integers, one file for each planner: ShotVerse's and GenDoP's."""
