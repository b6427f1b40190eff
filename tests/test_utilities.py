"""The exports of utilities.py, called as scripts and containers call them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import utilities
from siamese.data.images import square_picture
from siamese.indexes import open_index
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def run(*arguments: object) -> Result:
    """Run utilities.py in this process."""
    return CliRunner().invoke(utilities.main, [str(argument) for argument in arguments])


def run_script(
    *arguments: object, cwd: Path, exit_code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run utilities.py as a script."""
    result = subprocess.run(
        [sys.executable, ROOT / "utilities.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def data(catalogue):
    folder = catalogue.image_dir
    return ("--labeled-data", folder / "items.json", "--image-dir", folder)


@pytest.fixture(scope="module")
def exported(data, checkpoint, tmp_path_factory):
    """Export both ways, with the pretrained model in one folder and a trained one in another."""
    folders = {}
    for name, model in (("pretrained", ()), ("trained", ("--keras-model", checkpoint))):
        folders[name] = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folders[name])
            for target in (("savedmodel", *model), ("balltree", *model, *data)):
                result = run("--export", *target)
                assert result.exit_code == 0, result.output
    return folders


@pytest.mark.parametrize("name", ["pretrained", "trained"])
def test_the_index_opens_without_this_project_and_agrees_with_the_savedmodel(
    name, exported, catalogue, tmp_path
):
    import tensorflow as tf

    program = (
        "import pickle, sys, numpy as np\n"
        "sys.modules['siamese'] = None  # makes an import of it fail\n"
        "content = pickle.load(open('search_index.pkl', 'rb'))\n"
        "distances, rows = content['index'].query(np.asarray(content['index'].data)[:4], k=1)\n"
        "assert rows[:, 0].tolist() == [0, 1, 2, 3] and distances.max() < 1e-6\n"
        "assert content['metadata'][0].keys() == {'item_id', 'filename', 'labels'}\n"
        f"np.save({str(tmp_path / 'vectors.npy')!r}, np.asarray(content['index'].data))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=exported[name], check=True)
    indexed = np.load(tmp_path / "vectors.npy")

    folder = exported[name] / "savedmodels" / "embedding_model" / "1"
    predict = tf.saved_model.load(str(folder)).signatures["prediction"]
    size = predict.structured_input_signature[1]["input"].shape[1]
    pictures = [square_picture(catalogue.path_of(p), size) for p in catalogue.pictures[:4]]
    scaled = np.stack(pictures).astype(np.float32) / 127.5 - 1
    outputs = predict(input=tf.constant(scaled))
    assert np.sum(outputs["embedding"].numpy() * indexed[:4], axis=1).min() > 0.999
    assert ("softmax" in outputs) == (name == "pretrained")


@pytest.mark.parametrize("backend", ["faiss", "milvus"])
def test_the_other_backends_are_exported(backend, data, checkpoint, tmp_path):
    output = tmp_path / "index"
    result = run("--export", backend, "--keras-model", checkpoint, *data, "--output", output)
    assert result.exit_code == 0, result.output
    assert "index: 48 pictures, 16 dimensions" in result.stdout
    assert len(open_index(output)) == 48


def test_the_script_exports_an_index_and_lists_skipped_pictures(catalogue, checkpoint, tmp_path):
    (tmp_path / "items.json").write_text(
        '{"a": {"images": [{"filename": "red-disc-0.png"}, {"filename": "gone.png"}]}}'
    )
    data = ("--labeled-data", "items.json", "--image-dir", catalogue.image_dir)
    model = ("--keras-model", checkpoint)
    result = run_script("--export", "balltree", *model, *data, cwd=tmp_path, exit_code=3)
    assert result.stdout == "search_index.pkl: 1 picture, 16 dimensions\n"
    assert "skipped: item a, file gone.png: file missing" in result.stderr
    assert (tmp_path / "search_index.pkl").is_file()


@pytest.mark.parametrize("target", ["balltree", "savedmodel"])
def test_an_unwritable_output_is_reported_before_a_model_is_loaded(
    target, data, tmp_path, monkeypatch
):
    monkeypatch.setattr("siamese.cli.export.model_context", None)
    monkeypatch.setattr("siamese.cli.index.model_context", None)
    (tmp_path / "file").write_text("")
    result = run("--export", target, *data, "--output", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_missing_input_is_reported_in_one_line(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("--export", "balltree")
    assert result.exit_code == 2 and "--labeled-data" in result.stderr
    assert run("--export", "faiss-like").exit_code == 2
    arguments = ("--labeled-data", "gone.json", *data[2:])
    script = run_script("--export", "balltree", *arguments, cwd=tmp_path, exit_code=2)
    assert script.stderr.startswith("error: gone.json")
    assert len(script.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
