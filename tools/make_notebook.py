"""Make notebooks/train_siamese_network.ipynb of the script beside it, and run it.

    python -m tools.make_notebook            run it, and keep what the cells print and draw
    python -m tools.make_notebook --clear    only the cells

The script is the source: change it, not the notebook.
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
    """The notebook without outputs, always the same for the same script."""
    notebook = jupytext.read(SCRIPT)
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in `folder`, with what they print and draw kept in them.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        With the cell and its traceback.
    """
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(folder))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not _is_progress(one)]


def _is_progress(output: nbformat.NotebookNode) -> bool:
    """Whether it is nothing but bars, drawn over and at last away."""
    drawn_over = re.compile(r"\r[^\r\n]*")
    return output.get("name") == "stderr" and not drawn_over.sub("", output.text).strip()


def main(arguments: list[str]) -> None:
    """Write the notebook, executed unless told otherwise."""
    from siamese.utils.files import atomic_path

    notebook: Any = from_script()
    if "--clear" not in arguments:
        run(notebook, SCRIPT.parent)
    with atomic_path(NOTEBOOK) as temporary:
        nbformat.write(notebook, temporary)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
