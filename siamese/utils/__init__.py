"""Utilities for artefacts, files, Keras imports, progress, signals, templates, text and threads."""
