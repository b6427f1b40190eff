"""Unit vectors and their exact nearest neighbours, in NumPy."""
