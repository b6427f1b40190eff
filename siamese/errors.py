"""What a user can put right: one clear line a problem, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(Exception):
    """The input or the call is wrong; each line names the file, the item and the remedy.

    Parameters
    ----------
    lines : one line, or all the problems of an input at once
    """

    def __init__(self, lines: str | Iterable[str]) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))

    def _render_traceback_(self) -> list[str]:
        """In a notebook too: the lines alone. IPython asks for them by this name."""
        return [f"error: {line}" for line in self.lines]


class AwayError(InputError):
    """Nothing is wrong with the call: what should answer it is away, and may be back soon."""


class GoneError(AwayError):
    """What was found is not there any more: it was removed meanwhile, and the same call may do."""


class NotFoundError(InputError):
    """The index has no such picture or item."""
