"""The film grammar: endless screenplays with the trajectories that satisfy them."""
