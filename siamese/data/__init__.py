"""Labelled data: catalogues, their checks, the label rule, pictures and remote files."""
