"""Test the benchmark of retrieval quality without its peers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from siamese.data.catalogue import Catalogue
from siamese.training.recipe import Recipe
from tests.conftest import ROOT, load_benchmark

PEERS = ROOT / "benchmarks" / "quality_peers"


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    return load_benchmark("quality")


def test_table_shows_mean_and_standard_deviation(quality: ModuleType) -> None:
    runs = [
        {
            "figures": {"recall@1": recall, "map@r": 0.5},
            "pictures_seen": 1000,
            "seconds": seconds,
        }
        for recall, seconds in ((0.6, 50), (0.7, 100), (0.8, 150))
    ]
    untrained = [{"figures": {"recall@1": 0.25, "map@r": 0.125}}]
    rows = quality.format_table({"untrained": untrained, "siamese": runs}).splitlines()[2:]
    assert rows == [
        "| no training | .250 | .125 | – | – | – |",
        # 1000/50, 1000/100, 1000/150: 12.2 on average
        "| **siamese train** | .700 ± .100 | .500 ± .000 | 1,000 | 100 ± 50 | 12 |",
    ]


def test_every_peer_has_pinned_packages_a_script_and_its_recipes(quality: ModuleType) -> None:
    for method in quality.METHODS.values():
        if method.peer is not None:
            assert all("==" in pin for pin in quality.ENVIRONMENTS[method.peer])
            script = (PEERS / f"train_{method.peer}.py").read_text()
            assert f'    "{method.recipe}": Recipe(' in script


def test_every_method_is_documented(quality: ModuleType) -> None:
    told = (ROOT / "docs" / "quality.md").read_text()
    for method in quality.METHODS.values():
        assert f"\n| {method.title} |" in told


def test_pictures_seen_are_whole_epochs_of_siamese_train(
    quality: ModuleType, tmp_path: Path
) -> None:
    # 100 items of 4 pictures: 90 items are trained on, in 3 batches of 128.
    form = {
        f"item {i}": {"images": [{"filename": f"{i}-{view}.png"} for view in range(4)]}
        for i in range(100)
    }
    train = tmp_path / "train.json"
    train.write_text(json.dumps(form))
    assert (Recipe.held_out, Recipe.batch_size) == (0.1, 128)

    def plan(pictures_seen: int) -> tuple[int, int]:
        facts = [tmp_path, tmp_path, [], tmp_path, 32, pictures_seen, tmp_path, "python"]
        return quality.Benchmark("some", train, train, *facts).plan(seed=0)

    assert plan(384 * 5 + 100) == (5, 384 * 5)
    assert plan(384 * 5 - 100) == (5, 384 * 5)
    assert plan(100) == (1, 100)


def test_broken_pictures_are_left_out(
    quality: ModuleType, catalogue: Catalogue, tmp_path: Path
) -> None:
    shown = {"good": ["red-disc-0.png", "red-disc-1.png"], "half": ["red-disc-2.png", "broken.png"]}
    for name in (*shown["good"], "red-disc-2.png"):
        shutil.copy(catalogue.image_dir / name, tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    form = {
        item_id: {"images": [{"filename": name} for name in names]}
        for item_id, names in shown.items()
    }
    (tmp_path / "items.json").write_text(json.dumps(form))
    items = Catalogue.read(tmp_path / "items.json")
    assert quality._write_squares(items, 16, tmp_path / "train") == ["good", "good", "half"]
    squares = np.load(tmp_path / "train.npy")
    assert (squares.shape, squares.dtype) == ((3, 16, 16, 3), np.uint8)
