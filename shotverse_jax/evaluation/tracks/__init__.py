"""Whole evaluations: which scenes are made, and which metrics score them."""
