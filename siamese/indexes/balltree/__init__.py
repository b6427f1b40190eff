"""Balltree backend: an index in one file, a pickled scikit-learn BallTree."""
