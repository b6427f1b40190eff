"""Search of an index by picture, and ranking of the results."""
