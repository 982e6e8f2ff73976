"""Networks that look at trajectories, captions and films for the metrics."""
