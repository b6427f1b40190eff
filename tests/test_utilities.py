"""The two exports, word for word as scripts and containers call them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siamese.data.images import square_picture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


def utilities(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, ROOT / "utilities.py", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def exported(catalogue, checkpoint, tmp_path_factory):
    """Both exports: pretrained in one folder, trained in another."""
    folders = {}
    data = (
        "--labeled-data",
        catalogue.image_dir / "items.json",
        "--image-dir",
        catalogue.image_dir,
    )
    for name, model in (("pretrained", ()), ("trained", ("--keras-model", checkpoint))):
        folders[name] = tmp_path_factory.mktemp(name)
        utilities("--export", "savedmodel", *model, cwd=folders[name])
        utilities("--export", "balltree", *model, *data, cwd=folders[name])
    return folders


@pytest.mark.parametrize("name", ["pretrained", "trained"])
def test_the_index_opens_without_this_project_and_holds_what_the_savedmodel_answers(
    name, exported, catalogue, tmp_path
):
    import tensorflow as tf

    program = (
        "import pickle, sys, numpy as np\n"
        "sys.modules['siamese'] = None  # an import of it would fail\n"
        "content = pickle.load(open('search_index.pkl', 'rb'))\n"
        "distances, rows = content['index'].query(np.asarray(content['index'].data)[:4], k=1)\n"
        "assert rows[:, 0].tolist() == [0, 1, 2, 3] and distances.max() < 1e-6\n"
        "assert content['metadata'][0].keys() == {'item_id', 'filename', 'labels'}\n"
        f"np.save({str(tmp_path / 'vectors.npy')!r}, np.asarray(content['index'].data))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=exported[name], check=True)
    indexed = np.load(tmp_path / "vectors.npy")

    folder = exported[name] / "savedmodels" / "embedding_model" / "1"
    answer = tf.saved_model.load(str(folder)).signatures["prediction"]
    size = answer.structured_input_signature[1]["input"].shape[1]
    pictures = [square_picture(catalogue.path_of(p), size) for p in catalogue.pictures[:4]]
    scaled = np.stack(pictures).astype(np.float32) / 127.5 - 1
    outputs = answer(input=tf.constant(scaled))
    assert np.sum(outputs["embedding"].numpy() * indexed[:4], axis=1).min() > 0.999
    assert ("softmax" in outputs) == (name == "pretrained")


def test_what_is_missing_is_one_line(tmp_path, catalogue):
    done = utilities("--export", "balltree", cwd=tmp_path, code=2)
    assert "--labeled-data" in done.stderr
    words = ("--labeled-data", "gone.json", "--image-dir", catalogue.image_dir)
    done = utilities("--export", "balltree", *words, cwd=tmp_path, code=2)
    assert done.stderr.startswith("error: gone.json")
    assert len(done.stderr.splitlines()) == 1
    utilities("--export", "faiss-like", cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())
