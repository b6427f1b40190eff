"""Test the benchmark of embedding without its peer."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from PIL import Image

from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from tests.conftest import load_benchmark


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_benchmark("embedding")


@pytest.fixture
def photos(catalogue, tmp_path):
    """Save the drawn pictures as JPEGs, in a folder per item."""
    for picture in catalogue.pictures[:20]:
        path = (tmp_path / "photos" / picture.item_id / picture.filename).with_suffix(".JPG")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(catalogue.path_of(picture)).convert("RGB").save(path, "JPEG")
    return tmp_path / "photos"


def test_pictures_are_copied_or_enlarged(benchmark, photos, tmp_path):
    for large, size in ((False, (48, 40)), (True, (1024, 768))):
        folder = benchmark.prepare_pictures(photos, 6, tmp_path / "work", large)
        names = sorted(path.name for path in folder.glob("*.jpg"))
        assert len(names) == 6
        assert Image.open(folder / names[0]).size == size
        items = json.loads((folder / "items.json").read_text())
        assert [item["images"][0]["filename"] for item in items.values()] == names


def test_folder_without_jpegs_is_one_error_line(benchmark, tmp_path):
    with pytest.raises(InputError, match=r"no \.jpg in it"):
        benchmark.prepare_pictures(tmp_path, 6, tmp_path / "work", False)


def test_every_method_embeds_every_picture(benchmark, photos, tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(benchmark, "SIZE", 32)
    folder = benchmark.prepare_pictures(photos, 20, tmp_path / "work", False)
    rates = benchmark.measure_methods(Embedder.load(checkpoint), folder, 1)
    assert set(rates) == {"one by one", "Keras", "ours", "decoding", "model"}
    assert all(rate > 0 for rate in rates.values())


def test_broken_picture_is_an_error(benchmark, photos, tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(benchmark, "SIZE", 32)
    folder = benchmark.prepare_pictures(photos, 6, tmp_path / "work", False)
    (folder / "000002.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"000002\.jpg: not a picture"):
        benchmark.embed_with_siamese(Embedder.load(checkpoint), folder)


def test_table_has_ratios_to_one_by_one_and_to_the_limit(benchmark, capsys):
    rates = {"one by one": 10.0, "Keras": 15.0, "ours": 60.0, "decoding": 300.0, "model": 100.0}
    benchmark.print_table([("as they are", "ResNet50", rates)])
    assert capsys.readouterr().out.splitlines() == [
        "| pictures | architecture | one by one | Keras | ours | decoding | model | ours : limit |",
        "|---|---|---|---|---|---|---|---|",
        "| as they are | ResNet50 | 10.0 | 15.0 (×1.5) | 60.0 (×6.0) | 300.0 | 100.0 | 0.80 |",
    ]
