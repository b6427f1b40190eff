"""Reorder search results, using the vectors of the index alone."""
