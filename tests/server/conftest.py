"""A server in this process, with a model that needs no Keras, and pictures of one colour each."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from siamese.indexes import BallTreeIndex, open_index
from siamese.models.facts import ModelFacts
from siamese.search.searcher import Searcher
from siamese.server.service import Service
from siamese.server.settings import Limits, Settings

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

FACTS = ModelFacts("colours", "c" * 64, 4, 32, None)


class Colours:
    """A model whose vectors are the mean colour and a constant."""

    def __init__(self, facts: ModelFacts = FACTS) -> None:
        self.facts = facts
        self.batches: list[int] = []

    def embed_squares(self, squares: np.ndarray) -> np.ndarray:
        self.batches.append(len(squares))
        colours = squares.mean((1, 2))
        vectors = np.concatenate([colours, np.full((len(squares), 1), 64)], axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


COLOURS = {
    f"{name}-{shade}": (name, tuple(channel * level // 255 for channel in colour))
    for name, colour in {
        "red": (255, 30, 30),
        "green": (30, 255, 30),
        "blue": (
            45,
            30,
            255,
        ),  # no two at the same distance from a third: backends round differently
        "yellow": (255, 255, 30),
    }.items()
    for shade, level in {"dark": 90, "middle": 160, "light": 230}.items()
}
"""Item and colour by filename without suffix: 4 items of 3 pictures each."""


def encoded(
    colour: Any = (200, 30, 30),
    size: tuple[int, int] = (32, 32),
    format: str = "PNG",
    **options: Any,
) -> bytes:
    """Return a picture of one colour as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format, **options)
    return buffer.getvalue()


def write_index(path: Path, prefix: str = "", facts: ModelFacts = FACTS) -> None:
    """Index the colours; another prefix of the items makes another version of the index."""
    filenames = [f"shades/{name}.png" for name in COLOURS]
    squares = np.stack([np.full((32, 32, 3), colour, np.uint8) for _, colour in COLOURS.values()])
    vectors = Colours().embed_squares(squares)
    metadata = [
        {"item_id": prefix + item, "filename": name, "labels": ["colour", name.split("-")[1][:-4]]}
        for name, (item, _) in zip(filenames, COLOURS.values(), strict=True)
    ]
    BallTreeIndex.build(vectors, metadata, facts).save(path)


@pytest.fixture(scope="session")
def folder_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that each test gets a copy of, see `folder`."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "photos" / "shades").mkdir(parents=True)
    for name, (_, colour) in COLOURS.items():
        (folder / "photos" / "shades" / f"{name}.png").write_bytes(encoded(colour))
    (folder / "secret.png").write_bytes(encoded())
    write_index(folder / "search_index.pkl")
    return folder


@pytest.fixture
def folder(folder_template: Path, tmp_path: Path) -> Path:
    """Return a folder with an index and its pictures, and a secret beside them."""
    return shutil.copytree(folder_template, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def serving(folder: Path) -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts a server in this process with some settings or limits."""
    from fastapi.testclient import TestClient

    from siamese.server.app import create_app

    clients = []

    def start(
        *, embedder: Any = None, index: str = "search_index.pkl", **options: Any
    ) -> TestClient:
        limits = {name: options.pop(name) for name in Limits.__annotations__ if name in options}
        settings = replace(
            Settings(image_dir=folder / "photos", watch_seconds=0),
            limits=Limits(**limits),
            **options,
        )
        embedder = embedder or Colours()
        service = Service(
            lambda _: Searcher(embedder, open_index(folder / index)), folder / index, settings
        )
        client = TestClient(create_app(service), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving: Callable[..., TestClient]) -> TestClient:
    """Return a client of a server with the default settings."""
    return serving()


def upload(content: bytes | None = None, name: str = "query.png") -> dict[str, Any]:
    """Return an upload for `httpx`."""
    return {"files": {"image": (name, encoded() if content is None else content)}}


def error_of(answer: httpx.Response) -> str:
    """Return the line of an error response, which contains nothing else."""
    document = answer.json()
    assert list(document) == ["error"]
    assert "\n" not in document["error"]
    assert "Traceback" not in answer.text
    return document["error"]


__all__ = ["COLOURS", "FACTS", "Colours", "encoded", "error_of", "upload", "write_index"]
