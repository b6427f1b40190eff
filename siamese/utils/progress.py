"""Show the progress of long work: as a bar in a terminal or notebook, as lines in a log."""

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
    """Show progress on standard error; use as ``with progress_bar("embedding", 100) as bar``."""
    options: dict[str, Any] = {"desc": description, "total": total, "unit": unit, "leave": False}
    if sys.stderr.isatty() or _in_notebook():
        return tqdm(**options)
    return _ProgressLines(
        **options,
        mininterval=LINE_SECONDS,
        miniters=1,  # otherwise tqdm waits for a count that it estimates in the first seconds
        ncols=90,
        file=io.StringIO(),  # swallows the control characters of a bar
    )


def _in_notebook() -> bool:
    """Return whether this process is a kernel, which has always imported IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
