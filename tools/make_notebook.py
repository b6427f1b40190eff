"""Build notebooks/train_siamese_network.ipynb from the script beside it and run it.

    python -m tools.make_notebook            build, run and save the outputs
    python -m tools.make_notebook --clear    build without running

Edit the script, not the notebook.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

SCRIPT = Path(__file__).parent.parent / "notebooks" / "train_siamese_network.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def from_script() -> nbformat.NotebookNode:
    """Convert the script to a notebook without outputs; the same script gives the same notebook."""
    notebook = jupytext.read(SCRIPT)
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in the working folder `folder` and save their outputs in the notebook.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails; the message holds the cell and its traceback.
    """
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(folder))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not _is_progress_bar(out)]


def _is_progress_bar(output: nbformat.NotebookNode) -> bool:
    """Return whether the output holds only progress bars, which overwrite their own line."""
    overwritten = re.compile(r"\r[^\r\n]*")
    return output.get("name") == "stderr" and not overwritten.sub("", output.text).strip()


def main(arguments: list[str]) -> None:
    """Build the notebook, and run it unless --clear is given."""
    from siamese.utils.files import atomic_path

    notebook: Any = from_script()
    if "--clear" not in arguments:
        run(notebook, SCRIPT.parent)
    with atomic_path(NOTEBOOK) as temporary:
        nbformat.write(notebook, temporary)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
