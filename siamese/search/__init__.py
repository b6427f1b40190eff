"""Search an index by picture and rank what is found."""
