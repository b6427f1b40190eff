from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from siamese.data.catalogue import Catalogue
from siamese.reports import draw_pairs
from siamese.reports import pairs_picture as module
from siamese.reports.canvas import FAINT, OTHER, SAME
from siamese.training.pair_generator import PairGenerator


def groups_of(generator, monkeypatch, pairs=6):
    """Draw pairs; return the picture, and the rows of the pairs by their sign."""
    drawn = []
    real = module._draw_pair

    def noted(canvas, generator, group, rows, x, y):
        drawn.append((group.sign, rows))
        real(canvas, generator, group, rows, x, y)

    monkeypatch.setattr(module, "_draw_pair", noted)
    picture = draw_pairs(generator, pairs=pairs)
    return picture, {
        sign: [rows for other, rows in drawn if other == sign] for sign in ("=", "≠", "?")
    }


def frames(picture: Image.Image, colour: str) -> int:
    """Count the pixels of a colour in the row that has the most."""
    same = (np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=2)
    return int(same.sum(axis=1).max())


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_signs_match_the_relations_of_the_pairs(catalogue, sampling, monkeypatch):
    generator = PairGenerator(catalogue, picture_size=16, sampling=sampling, batch_size=32)
    picture, groups = groups_of(generator, monkeypatch)
    assert len(groups["="]) == len(groups["≠"]) == 6
    shown = generator.pictures
    for one, other in groups["="]:
        assert shown[one].item_id == shown[other].item_id and one != other
    for one, other in groups["≠"]:
        assert not set(shown[one].labels) & set(shown[other].labels)
    for one, other in groups["?"]:
        assert shown[one].item_id != shown[other].item_id
        assert set(shown[one].labels) & set(shown[other].labels)
    assert bool(groups["?"]) == (sampling == "batch-pairs")
    if sampling == "batch-pairs":
        batch = set(generator.draw()[0].tolist())
        assert {row for pairs in groups.values() for rows in pairs for row in rows} <= batch
    else:
        drawn = set(zip(*(side.tolist() for side in generator.draw()[:2]), strict=True))
        assert set(groups["="] + groups["≠"]) <= drawn
    assert picture.width < 2 * 900


def test_positives_show_different_items_if_possible(catalogue, monkeypatch):
    generator = PairGenerator(catalogue, picture_size=16, batch_size=48)
    _, groups = groups_of(generator, monkeypatch, pairs=12)
    items = [generator.pictures[one].item_id for one, _ in groups["="]]
    assert len(set(items)) == 12


def test_picture_twice_in_a_batch_is_no_pair_with_itself(catalogue, monkeypatch):
    generator = PairGenerator(catalogue, picture_size=16)
    # 0 and 1 show one item, 4 another with the same label, 20 one with another label.
    monkeypatch.setattr(generator, "draw", lambda: np.array([[0, 0, 1, 4, 20]]))
    _, groups = groups_of(generator, monkeypatch, pairs=50)
    assert sorted(groups["="]) == [(0, 1)]
    assert sorted(groups["≠"]) == [(0, 20), (1, 20), (4, 20)]
    assert sorted(groups["?"]) == [(0, 4), (1, 4)]


def test_next_epoch_shows_other_pairs(catalogue):
    generator = PairGenerator(catalogue, picture_size=16, sampling="random-pairs")
    first = draw_pairs(generator)
    generator.on_epoch_end()
    assert not np.array_equal(first, draw_pairs(generator))


def test_frames_are_green_for_positives_and_red_for_negatives(catalogue):
    generator = PairGenerator(catalogue, picture_size=16, batch_size=32)
    picture = draw_pairs(generator, pairs=3)
    thirds = [picture.crop((0, y, picture.width, y + 400)) for y in (64, 500, 900)]
    tiles = 6 * 2 * (module.TILE - 2)
    for part, colour in zip(thirds, (SAME, OTHER, FAINT), strict=True):
        assert frames(part, colour) > tiles
        for other in {SAME, OTHER} - {colour}:
            assert frames(part, other) < tiles


def test_two_items_without_labels_and_with_long_names(tmp_path, monkeypatch):
    form = {}
    for name in ("one" * 50, "two" * 50):
        files = [f"{name[:3]}{view}.png" for view in range(2)]
        for file in files:
            Image.new("RGB", (9, 9), "blue").save(tmp_path / file)
        form[name] = {"images": [{"filename": file} for file in files]}
    (tmp_path / "items.json").write_text(json.dumps(form))
    catalogue = Catalogue.read(tmp_path / "items.json")
    generator = PairGenerator(catalogue, picture_size=16)
    picture, groups = groups_of(generator, monkeypatch)
    assert [len(groups[sign]) for sign in ("=", "≠", "?")] == [2, 4, 0]
    assert (np.asarray(picture)[:, -60:] == 255).all()
