"""Errors that the user can fix: they are shown as lines of text, never as a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(Exception):
    """Something is wrong with the input or the call.

    Parameters
    ----------
    lines : str or iterable of str
        One line per problem: where it is (a file, an item or a flag), what is wrong, and what to
        do. The attribute `lines` is a list of them.
    """

    def __init__(self, lines: str | Iterable[str]) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback; IPython calls this method."""
        return [f"error: {line}" for line in self.lines]


class UnavailableError(InputError):
    """The call is correct, but a server it needs does not answer; it may work later."""


class GoneError(UnavailableError):
    """Something was removed from the index during the call; a second call may work."""


class NotFoundError(InputError):
    """The index has no such picture or item."""
