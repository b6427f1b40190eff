"""Progress display: a bar in a terminal or notebook, and occasional lines in a log."""

from __future__ import annotations

import io
import sys
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
"""Minimum number of seconds between progress lines, so that logs stay short."""


class _ProgressLines(tqdm):  # type: ignore[type-arg]
    """Progress display that prints a line every `LINE_SECONDS` instead of a bar."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg != "" and self.n > 0:
            print(msg or self, file=sys.stderr, flush=True)


def progress_bar(description: str, total: int, unit: str = " pictures") -> tqdm[Any]:
    """Create a progress bar on standard error that counts to `total`, for a ``with`` statement."""
    options: dict[str, Any] = {"desc": description, "total": total, "unit": unit, "leave": False}
    if sys.stderr.isatty() or _in_notebook():
        return tqdm(**options)
    return _ProgressLines(
        **options,
        mininterval=LINE_SECONDS,
        miniters=1,  # let only the elapsed time decide when to print
        ncols=90,
        file=io.StringIO(),  # discards the control characters that tqdm prints for a bar
    )


def _in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel (every kernel imports IPython)."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
