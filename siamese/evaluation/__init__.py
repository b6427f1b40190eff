"""Evaluation of embeddings: retrieval, verification, calibration and duplicates."""
