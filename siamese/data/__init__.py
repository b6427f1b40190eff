"""Read and check labeled data: the catalogue, its label rule, its pictures."""
