"""Rasters: their grids as values, their blocks read and decoded once."""
