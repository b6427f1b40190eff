"""Evaluate embeddings: retrieval, verification, calibration and duplicates."""
