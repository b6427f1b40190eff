"""Measure retrieval and verification, calibrate, find duplicates."""
