"""Grids, comparisons, fits and checks over many runs."""
