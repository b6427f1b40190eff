"""The notebook runs from top to bottom and matches its script."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import nbformat
import pytest

from tools import make_notebook as tool

EAGER = """\
import tensorflow as tf, warnings
warnings.filterwarnings("ignore", "Even though the")  # a hint about tf.data
tf.config.run_functions_eagerly(True)  # compiling graphs takes longer than training here
"""


@pytest.fixture(scope="module")
def executed(catalogue, tmp_path_factory) -> nbformat.NotebookNode:
    """Run the notebook on 12 tiny items, with two broken pictures among them."""
    folder = tmp_path_factory.mktemp("project") / "notebooks"
    folder.mkdir()
    data = shutil.copytree(catalogue.image_dir, folder.parent / "data")
    (data / "red-disc-0.png").write_bytes(b"no picture")
    (data / "blue-square-1.png").unlink()
    notebook = tool.from_script()
    (settings,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    settings.source += (
        f"\nLABELED_DATA = {str(data / 'items.json')!r}\n"
        "BACKBONE, PICTURE_SIZE, EPOCHS = 'base_cnn', 32, 2"
    )
    (training,) = [c for c in notebook.cells if "siamese.train(" in c.source]
    training.source = EAGER + training.source
    tool.run(notebook, folder)
    assert (folder.parent / "checkpoints" / "final_model.hdf5").is_file()
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def printed_text(notebook: nbformat.NotebookNode) -> str:
    return "".join(out.text for out in outputs(notebook) if out.output_type == "stream")


def test_all_cells_run_without_errors_and_warnings(executed):
    stderr = [out.text for out in outputs(executed) if out.get("name") == "stderr"]
    assert [line for line in stderr if not line.startswith("too few items")] == []
    assert [out for out in outputs(executed) if out.output_type == "error"] == []


def test_all_charts_and_pictures_are_drawn(executed):
    drawn = [
        cell.source.splitlines()[-1]
        for cell in executed.cells
        for out in cell.get("outputs", [])
        if {"image/png", "image/jpeg"} & set(out.get("data", {}))
    ]
    assert len(drawn) == 7
    assert any("LiveTrainingCurves" in source for source in drawn)


def test_broken_pictures_are_listed(executed):
    assert "red-disc-0.png" in printed_text(executed) and "blue-square-1.png" in printed_text(
        executed
    )


def test_the_commands_at_the_end_use_the_trained_model(executed):
    assert "--keras-model checkpoints/final_model.hdf5" in printed_text(executed)
    assert "/data/items.json" in printed_text(executed)


def test_the_committed_notebook_matches_the_script():
    committed = nbformat.read(tool.NOTEBOOK, as_version=4)
    built = tool.from_script()
    assert [(c.cell_type, c.source) for c in committed.cells] == [
        (c.cell_type, c.source) for c in built.cells
    ], "run make notebook-execute"


def test_the_committed_notebook_has_outputs_without_absolute_paths():
    committed = nbformat.read(tool.NOTEBOOK, as_version=4)
    assert {c.execution_count for c in committed.cells if c.cell_type == "code"} == set(
        range(1, 1 + sum(c.cell_type == "code" for c in committed.cells))
    )
    assert not [out for out in outputs(committed) if out.get("name") == "stderr"]
    assert (
        sum(
            "image/jpeg" in o.get("data", {}) or "image/png" in o.get("data", {})
            for o in outputs(committed)
        )
        == 7
    )
    output = printed_text(committed) + json.dumps(
        [o.data.get("text/plain", "") for o in outputs(committed) if "data" in o]
    )
    assert re.findall(r"(?<![\w.])/\w[\w.-]*/\S+", output) == [], "absolute paths"
    assert tool.NOTEBOOK.stat().st_size < 3e6
