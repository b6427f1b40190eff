"""Errors that users can fix. Commands and notebooks show them without a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(Exception):
    """Error in the input or the arguments.

    Parameters
    ----------
    lines : str or iterable of str
        One line per problem: where it is (such as a file, an item or a flag), what is wrong, and
        what to do. The attribute `lines` is always a list.
    """

    def __init__(self, lines: str | Iterable[str]) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in a notebook instead of a traceback."""
        return [f"error: {line}" for line in self.lines]


class UnavailableError(InputError):
    """Error raised if a server does not answer; the same call may succeed later."""


class GoneError(UnavailableError):
    """Error raised if index entries are removed during a call; repeating the call may succeed."""


class NotFoundError(InputError):
    """Error raised if a picture or an item does not exist."""
