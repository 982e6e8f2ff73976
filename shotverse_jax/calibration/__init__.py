"""Cameras of edited films: reconstructions of shots, their alignment to one world, and whether they can be believed."""
