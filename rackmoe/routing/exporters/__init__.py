"""Placements and loads in the files that serving engines read."""
