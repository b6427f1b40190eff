from __future__ import annotations

import json

import numpy as np
from PIL import Image, ImageColor

from siamese.data.catalogue import Catalogue
from siamese.reports import draw_collage, draw_neighbours, draw_results, write_picture
from siamese.reports.canvas import OTHER, SAME, make_thumbnail
from siamese.search.searcher import QueryResult, Result


def count(picture: Image.Image, colour: str) -> int:
    pixels = np.asarray(picture, int)
    return int((np.abs(pixels - ImageColor.getrgb(colour)).sum(axis=2) < 24).sum())


def test_written_photos_keep_their_colours(tmp_path):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (120, 120, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    query = QueryResult(str(tmp_path / "photo.png"), [Result(1, 0.0, "a", "photo.png", [])])
    write_picture(draw_results([query], tmp_path), tmp_path / "results.png")
    with Image.open(tmp_path / "results.png") as written:
        assert written.format == "PNG"
        assert len(written.getcolors(2**24)) > 10_000


def test_line_break_in_a_name_is_replaced(tmp_path):
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "a.png")
    drawn = []
    for name in ("a\nb", "a\ufffdb"):
        found = [QueryResult(str(tmp_path / "a.png"), [Result(1, 0.0, name, "a.png", [name])])]
        drawn.append(np.asarray(draw_results(found, tmp_path)))
    assert np.array_equal(*drawn)


def test_collage_has_a_row_per_item(catalogue):
    few, more = draw_collage(catalogue, items=2), draw_collage(catalogue, items=4)
    assert few.width == more.width
    assert more.height > 1.7 * few.height
    assert draw_collage(catalogue, items=2, pictures=2).width < 0.7 * few.width


def test_collage_of_one_item_with_a_long_name_and_no_file(tmp_path):
    name = "a-name-without-end-" * 40
    form = {name: {"images": [{"filename": "gone.png"}], "labels": ["label " * 90]}}
    (tmp_path / "items.json").write_text(json.dumps(form))
    picture = draw_collage(Catalogue.read(tmp_path / "items.json"))
    pixels = np.asarray(picture)
    assert (pixels[:, -40:] == 255).all()  # nothing runs out of the picture
    assert pixels.min() < 100


def test_frames_are_green_for_the_same_item_and_red_for_another(catalogue, comparison):
    picture = draw_neighbours(comparison, catalogue, rows=5)
    hits = sum(one.same_item for query in comparison.queries for one in query.before + query.after)
    misses = 5 * 2 * 4 - hits
    assert hits
    assert misses
    # All frames have the same length; those of the same item are three times as thick.
    thickness = count(picture, SAME) / hits / (count(picture, OTHER) / misses)
    assert 2.5 < thickness < 3.5


def test_results_start_with_the_query(catalogue):
    one, other = catalogue.pictures[0], catalogue.pictures[5]
    result = Result(1, 0.25, other.item_id, other.filename, list(other.labels))
    found = [QueryResult(str(catalogue.path_of(one)), [result, result])]
    one_row = draw_results(found, catalogue.image_dir)
    three_rows = draw_results(found * 3, catalogue.image_dir)
    assert three_rows.height > 2 * one_row.height
    shown = np.asarray(one_row)
    tile = np.asarray(
        make_thumbnail(catalogue.path_of(one), 224)
    )  # within a frame, and apart from it
    assert np.array_equal(shown[64 + 8 : 64 + 232, 64 + 8 : 64 + 232], tile)
