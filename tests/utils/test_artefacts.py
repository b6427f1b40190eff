"""Each reader, given something that another command takes, says what it is and who takes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siamese.data.catalogue import Catalogue
from siamese.data.check import check_catalogue
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError
from siamese.evaluation.calibration import Calibration, read_calibration
from siamese.indexes import BallTreeIndex, open_index
from siamese.indexes.faiss.index import FaissIndex
from siamese.models.facts import ModelFacts
from siamese.search.queries import collect_queries, search_each
from siamese.utils.artefacts import Artefact, describe_artefact, find_artefact

FACTS = ModelFacts("a model", "0123abcd", 4, 32, None)

NAMES = {
    Artefact.CHECKPOINT: "final_model.hdf5",
    Artefact.TRAINING_STATE: "training_state.hdf5",
    Artefact.SAVED_MODEL: "embedding_model",
    Artefact.BALLTREE_INDEX: "search_index.pkl",
    Artefact.FAISS_INDEX: "search_index.faiss",
    Artefact.MILVUS_FOLDER: "search_index.milvus",
    Artefact.EMBEDDINGS: "search_index.embeddings",
    Artefact.CALIBRATION: "final_model.calibration.json",
    Artefact.LABELED_DATA: "items.json",
    Artefact.PICTURE: "photo.jpg",
}
REMEDIES = {
    Artefact.CHECKPOINT: ("checkpoint", "--keras-model"),
    Artefact.TRAINING_STATE: ("state of a training run", "--resume"),
    Artefact.SAVED_MODEL: ("SavedModel", "TensorFlow Serving"),
    Artefact.BALLTREE_INDEX: ("balltree index", "--index"),
    Artefact.FAISS_INDEX: ("FAISS index", "--index"),
    Artefact.MILVUS_FOLDER: ("Milvus Lite folder", "--index"),
    Artefact.EMBEDDINGS: ("embeddings folder", "--embeddings"),
    Artefact.CALIBRATION: ("calibration", "checkpoint beside it"),
    Artefact.LABELED_DATA: ("labelled data", "--labeled-data"),
    Artefact.PICTURE: ("picture", "siamese search"),
}
INDEXES = {Artefact.BALLTREE_INDEX, Artefact.FAISS_INDEX, Artefact.MILVUS_FOLDER}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """Return a folder with one artefact of each kind."""
    folder = tmp_path_factory.mktemp("artefacts")
    for kind in (Artefact.CHECKPOINT, Artefact.TRAINING_STATE):
        shutil.copy(checkpoint, folder / NAMES[kind])
    (folder / NAMES[Artefact.SAVED_MODEL] / "1").mkdir(parents=True)
    (folder / NAMES[Artefact.SAVED_MODEL] / "1/saved_model.pb").touch()
    metadata = [{"item_id": str(row), "filename": f"{row}.jpg", "labels": []} for row in (0, 1)]
    for index, kind in (
        (BallTreeIndex.build(np.eye(2, 4), metadata, FACTS), Artefact.BALLTREE_INDEX),
        (FaissIndex.build(np.eye(2, 4), metadata, FACTS), Artefact.FAISS_INDEX),
    ):
        index.save(folder / NAMES[kind])
    (folder / NAMES[Artefact.MILVUS_FOLDER] / "collections").mkdir(parents=True)
    (folder / NAMES[Artefact.MILVUS_FOLDER] / "LOCK").touch()
    with EmbeddingStore(folder / NAMES[Artefact.EMBEDDINGS]).open(FACTS):
        pass
    Calibration(
        threshold=0.5,
        precision=1.0,
        recall=1.0,
        balanced_accuracy=1.0,
        known=1,
        unknown=1,
        gallery=2,
        fingerprint="0123abcd",
        measured_on="items.json",
    ).write(folder / NAMES[Artefact.CALIBRATION])
    items = {"0": {"labels": ["red"], "images": [{"filename": "photo.jpg"}]}}
    (folder / NAMES[Artefact.LABELED_DATA]).write_text(json.dumps(items))
    Image.new("RGB", (8, 8)).save(folder / NAMES[Artefact.PICTURE])
    return folder


def load_checkpoint(path: Path) -> None:
    from siamese.models.checkpoints import load_model

    load_model(path)


def load_weights(path: Path) -> None:
    from siamese.models.embedding_model import embedding_model

    embedding_model("EfficientNetLite0", 32, weights=str(path))


def open_store(path: Path) -> None:
    with EmbeddingStore(path).open(FACTS):
        pass


def search_for(path: Path) -> None:
    embedder = SimpleNamespace(facts=FACTS)
    searcher: Any = SimpleNamespace(embedder=embedder)
    list(search_each(searcher, collect_queries([path]), 1, []))


READERS: dict[str, tuple[Callable[[Path], Any], set[Artefact]]] = {
    "Catalogue.read": (Catalogue.read, {Artefact.LABELED_DATA}),
    "Catalogue.from_csv": (Catalogue.from_csv, set()),
    "Catalogue.from_folder": (Catalogue.from_folder, set()),
    "load_model": (load_checkpoint, {Artefact.CHECKPOINT, Artefact.TRAINING_STATE}),
    "--weights": (load_weights, {Artefact.CHECKPOINT, Artefact.TRAINING_STATE}),
    "open_index": (open_index, INDEXES),
    "BallTreeIndex.open": (BallTreeIndex.open, INDEXES),
    "EmbeddingStore.open": (open_store, {Artefact.EMBEDDINGS}),
    "search": (search_for, {Artefact.PICTURE}),
    "search --queries": (
        lambda path: collect_queries([], path),
        {Artefact.PICTURE, Artefact.LABELED_DATA},
    ),
}
MIX_UPS = [
    pytest.param(reader, kind, id=f"{name}-{kind.name.lower()}")
    for name, (reader, expected) in READERS.items()
    for kind in Artefact
    if kind not in expected
]


@pytest.mark.parametrize("kind", Artefact, ids=lambda kind: kind.name.lower())
def test_recognises(folder: Path, kind: Artefact) -> None:
    path = folder / NAMES[kind]
    assert find_artefact(path) is kind
    assert describe_artefact(path) == kind.value
    assert describe_artefact(path, other_than=(kind,)) is None


@pytest.mark.parametrize(("reader", "kind"), MIX_UPS)
def test_mix_up_is_named(reader: Callable[[Path], Any], kind: Artefact, folder: Path) -> None:
    path = folder / NAMES[kind]
    with pytest.raises(InputError) as error:
        reader(path)
    (line,) = error.value.lines
    assert line.startswith(f"{path}: not ")
    what, remedy = REMEDIES[kind]
    assert what in line and remedy in line


def test_check_names_a_mix_up(folder: Path) -> None:
    report = check_catalogue(folder / NAMES[Artefact.CALIBRATION])
    assert [problem.kind for problem in report.problems] == ["catalogue"]
    assert "not labelled data but a calibration" in str(report.problems[0])


def test_calibration_names_a_mix_up(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / NAMES[Artefact.LABELED_DATA], tmp_path / "a.calibration.json")
    assert read_calibration(tmp_path / "a.hdf5", "0123abcd") is None
    assert "not a calibration but labelled data; give it as --labeled" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [Artefact.FAISS_INDEX, Artefact.MILVUS_FOLDER])
def test_refused_folder_is_unchanged(kind: Artefact, folder: Path, tmp_path: Path) -> None:
    path = shutil.copytree(folder / NAMES[kind], tmp_path / "folder")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match="not an embeddings folder"):
        open_store(path)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "content",
    [b"", b"item_id,filename\n", b"PK\x03\x04", b'{"a": {"b": 1}}', b"[1]", b"\x80\x04}."],
)
def test_anything_else_is_no_artefact(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert find_artefact(tmp_path / "file") is None
    assert find_artefact(tmp_path) is None
    assert find_artefact(tmp_path / "missing") is None
