"""Reorder search results with the vectors of the index alone, without training."""
