"""The notebook runs from top to bottom, is its script, and shows no more than it should."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import nbformat
import pytest

from tools import make_notebook as tool


@pytest.fixture(scope="module")
def executed(catalogue, tmp_path_factory) -> nbformat.NotebookNode:
    """The notebook run on 12 tiny items, with two broken pictures among them."""
    folder = tmp_path_factory.mktemp("project") / "notebooks"
    folder.mkdir()
    data = shutil.copytree(catalogue.image_dir, folder.parent / "data")
    (data / "red-disc-0.png").write_bytes(b"no picture")
    (data / "blue-square-1.png").unlink()
    made = tool.from_script()
    (settings,) = [c for c in made.cells if "parameters" in c.metadata.get("tags", [])]
    settings.source += (
        f"\nLABELED_DATA = {str(data / 'items.json')!r}\n"
        "BACKBONE, PICTURE_SIZE, EPOCHS = 'base_cnn', 32, 2"
    )
    tool.run(made, folder)
    assert (folder.parent / "checkpoints" / "final_model.hdf5").is_file()
    return made


def outputs(made: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    for cell in made.cells:
        yield from cell.get("outputs", [])


def text(made: nbformat.NotebookNode) -> str:
    return "".join(one.text for one in outputs(made) if one.output_type == "stream")


def test_it_runs_from_top_to_bottom_and_says_little(executed):
    said = [one.text for one in outputs(executed) if one.get("name") == "stderr"]
    assert [line for line in said if not line.startswith("too few items")] == []
    assert [one for one in outputs(executed) if one.output_type == "error"] == []


def test_every_kind_of_picture_is_drawn(executed):
    drawn = [
        cell.source.splitlines()[-1]
        for cell in executed.cells
        for one in cell.get("outputs", [])
        if {"image/png", "image/jpeg"} & set(one.get("data", {}))
    ]
    assert len(drawn) == 7
    assert any("LiveTrainingCurves" in source for source in drawn)


def test_broken_pictures_are_named_and_stop_nothing(executed):
    assert "red-disc-0.png" in text(executed) and "blue-square-1.png" in text(executed)


def test_the_commands_at_the_end_are_of_this_training(executed):
    assert "--keras-model checkpoints/final_model.hdf5" in text(executed)
    assert "/data/items.json" in text(executed)


def test_the_committed_notebook_is_the_script_beside_it():
    committed = nbformat.read(tool.NOTEBOOK, as_version=4)
    made = tool.from_script()
    assert [(c.cell_type, c.source) for c in committed.cells] == [
        (c.cell_type, c.source) for c in made.cells
    ], "run make notebook-execute"


def test_the_committed_notebook_shows_its_outputs_and_no_machine():
    committed = nbformat.read(tool.NOTEBOOK, as_version=4)
    assert {c.execution_count for c in committed.cells if c.cell_type == "code"} == set(
        range(1, 1 + sum(c.cell_type == "code" for c in committed.cells))
    )
    assert not [one for one in outputs(committed) if one.get("name") == "stderr"]
    assert (
        sum(
            "image/jpeg" in o.get("data", {}) or "image/png" in o.get("data", {})
            for o in outputs(committed)
        )
        == 7
    )
    said = text(committed) + json.dumps(
        [o.data.get("text/plain", "") for o in outputs(committed) if "data" in o]
    )
    assert re.findall(r"(?<![\w.])/\w[\w.-]*/\S+", said) == [], "absolute paths"
    assert tool.NOTEBOOK.stat().st_size < 3e6
