"""Errors that the user can put right: a clear line per problem, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(Exception):
    """Something is wrong with the input or the call.

    Parameters
    ----------
    lines : str or iterable of str
        One line per problem, which names the file or the item, what is wrong with it, and what to
        do.

    Attributes
    ----------
    lines : list of str
        The lines.
    """

    def __init__(self, lines: str | Iterable[str]) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: IPython calls this method by its name."""
        return [f"error: {line}" for line in self.lines]


class UnavailableError(InputError):
    """The call is correct, but a server it needs does not answer; it may work later."""


class GoneError(UnavailableError):
    """Something was removed from the index during the call; the same call may work now."""


class NotFoundError(InputError):
    """The index has no such picture or item."""
