from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from siamese.reports import collage, neighbours_picture, results_picture
from siamese.reports.pictures import OTHER, SAME, thumbnail
from siamese.search import QueryResult, Result


def count(path, colour: str) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return int((np.abs(pixels - ImageColor.getrgb(colour)).sum(axis=2) < 24).sum())


def test_thumbnail_keeps_the_shape_of_the_picture(tmp_path):
    Image.new("RGB", (200, 100), "blue").save(tmp_path / "wide.png")
    pixels = np.asarray(thumbnail(tmp_path / "wide.png", 60))
    assert pixels.shape == (60, 60, 3)
    assert (pixels[30, 30] == (0, 0, 255)).all()
    assert (pixels[5, 30] == 255).all()


def test_thumbnail_of_a_broken_file_says_why(tmp_path):
    pixels = np.asarray(thumbnail(tmp_path / "gone.png", 60))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1  # grey ground, and ink on it
    large = np.asarray(thumbnail(tmp_path / "gone.png", 240), int)
    _, columns = np.nonzero(large.sum(axis=2) < 600)
    assert np.ptp(columns) > 240 / 3  # a tile twice as large is as legible


def test_photos_keep_their_colours(catalogue, tmp_path):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (120, 120, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    query = QueryResult(str(tmp_path / "photo.png"), [Result(1, 0.0, "a", "photo.png", [])])
    results_picture([query], tmp_path, tmp_path / "results.png")
    assert len(Image.open(tmp_path / "results.png").getcolors(2**24)) > 10_000


def test_a_name_with_a_line_break_stays_on_its_line(tmp_path):
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "a.png")
    drawn = []
    for name in ("a\nb", "a\ufffdb"):
        found = [QueryResult(str(tmp_path / "a.png"), [Result(1, 0.0, name, "a.png", [name])])]
        results_picture(found, tmp_path, tmp_path / "results.png")
        drawn.append(np.asarray(Image.open(tmp_path / "results.png")))
    assert np.array_equal(*drawn)


def test_collage_shows_a_row_an_item(catalogue, tmp_path):
    collage(catalogue, tmp_path / "few.png", items=2)
    collage(catalogue, tmp_path / "more.png", items=4)
    few, more = (Image.open(tmp_path / name) for name in ("few.png", "more.png"))
    assert few.width == more.width
    assert more.height > 1.7 * few.height


def test_frames_are_green_for_the_same_item_and_red_for_another(catalogue, comparison, tmp_path):
    path = tmp_path / "neighbours.png"
    neighbours_picture(comparison, catalogue, path, rows=5)
    hits = sum(one.same_item for query in comparison.queries for one in query.before + query.after)
    misses = 5 * 2 * 4 - hits
    assert hits
    assert misses
    # A frame is as long everywhere; one of the same item is two and a half times as thick.
    thickness = count(path, SAME) / hits / (count(path, OTHER) / misses)
    assert 2.0 < thickness < 3.0


def test_results_are_drawn_query_first(catalogue, tmp_path):
    one, other = catalogue.pictures[0], catalogue.pictures[5]
    result = Result(1, 0.25, other.item_id, other.filename, list(other.labels))
    found = [QueryResult(str(catalogue.path_of(one)), [result, result])]
    results_picture(found, catalogue.image_dir, tmp_path / "one.png")
    results_picture(found * 3, catalogue.image_dir, tmp_path / "three.png")
    one_row, three_rows = (Image.open(tmp_path / name) for name in ("one.png", "three.png"))
    assert three_rows.height > 2 * one_row.height
    assert three_rows.format == "PNG"
