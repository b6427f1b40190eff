"""Helpers for files, threads, progress, signals, templates and text."""
