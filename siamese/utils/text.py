"""Format text for people."""

from __future__ import annotations


def pluralize(count: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun.

    Parameters
    ----------
    count : int
        The number.
    singular : str
        The noun in the singular.
    plural : str, optional
        The noun in the plural; by default `singular` and an "s".

    Returns
    -------
    str
        The number, with thousands separated by commas, and the noun.

    Examples
    --------
    >>> pluralize(1, "picture"), pluralize(5407, "picture"), pluralize(2, "query", "queries")
    ('1 picture', '5,407 pictures', '2 queries')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
