"""Text formatting for messages."""

from __future__ import annotations


def pluralize(count: int, singular: str, plural: str | None = None) -> str:
    """Format a count and a noun; by default, the plural is `singular` followed by "s".

    Examples
    --------
    >>> pluralize(1, "picture"), pluralize(5407, "picture"), pluralize(2, "query", "queries")
    ('1 picture', '5,407 pictures', '2 queries')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
