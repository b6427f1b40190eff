"""Exact nearest neighbors and unit vectors, in NumPy."""
