"""Training data: records on disk, and the sources that make batches of them."""
