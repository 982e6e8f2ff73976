"""Runs of planners on pairs of plans."""
