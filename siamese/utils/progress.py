"""Show the progress of long work: a bar in a terminal or notebook, occasional lines in a log."""

from __future__ import annotations

import io
import sys
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
"""Seconds between two lines in a log, so that `docker logs` stays readable."""


class _ProgressLines(tqdm):  # type: ignore[type-arg]
    """Progress as whole lines instead of a bar; short work prints none."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg != "" and self.n > 0:
            print(msg or self, file=sys.stderr, flush=True)


def progress_bar(description: str, total: int, unit: str = " pictures") -> tqdm[Any]:
    """Show progress on standard error.

    Parameters
    ----------
    description : str
        What is being done, such as "embedding".
    total : int
        Number of steps.
    unit : str, default=" pictures"
        What a step handles.

    Returns
    -------
    tqdm.tqdm
        Call its ``update(n)`` after `n` steps. Close it, or use it in a ``with`` statement.
    """
    if sys.stderr.isatty() or _in_notebook():
        return tqdm(total=total, desc=description, unit=unit, leave=False)
    return _ProgressLines(
        total=total,
        desc=description,
        unit=unit,
        leave=False,
        mininterval=LINE_SECONDS,
        miniters=1,  # otherwise tqdm waits for a count that it estimates in the first seconds
        ncols=90,
        file=io.StringIO(),  # swallows the control characters of a bar
    )


def _in_notebook() -> bool:
    """Return whether this runs in a kernel, which has imported IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
