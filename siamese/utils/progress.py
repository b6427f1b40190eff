"""How far long work is: a bar on a terminal and in a notebook, a line now and then in a log."""

from __future__ import annotations

import io
import sys
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
"""Between two lines where there is no terminal, so that `docker logs` stays readable."""


class _Lines(tqdm):  # type: ignore[type-arg]
    """Whole lines instead of a bar that is drawn over; none for what is done at once."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg != "" and self.n > 0:
            print(msg or self, file=sys.stderr, flush=True)


def progress_bar(what: str, total: int, unit: str = " pictures") -> tqdm[Any]:
    """Start to show progress on standard error: call `update(n)`, and `close()` or use `with`."""
    if sys.stderr.isatty() or _in_notebook():
        return tqdm(total=total, desc=what, unit=unit, leave=False)
    return _Lines(
        total=total,
        desc=what,
        unit=unit,
        leave=False,
        mininterval=LINE_SECONDS,
        miniters=1,  # otherwise tqdm waits for a count that it guesses from the first seconds
        ncols=90,
        file=io.StringIO(),  # the line ends and returns of a bar
    )


def _in_notebook() -> bool:
    """Whether this runs in a kernel; who never imported IPython does not."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
