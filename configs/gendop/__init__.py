"""Runs of GenDoP."""
