"""Unit vectors and exact nearest-neighbour search, in NumPy."""
