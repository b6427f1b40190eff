"""Catalogues and their checks, the label rule, and local and remote pictures."""
