from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.evaluation.evaluate import evaluate
from siamese.models.facts import ModelFacts


class MeanColour:
    """Embedder by mean colour, which needs no network."""

    facts = ModelFacts("mean colour", "f" * 64, 3, 8, None)
    runtime = SimpleNamespace(name="numpy", precision="float32")

    def embed_squares(self, squares, *, batch_size=32):
        vectors = squares.mean((1, 2), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def catalogue(tmp_path):
    """Return a function that writes a catalogue of single-coloured pictures."""

    def make(name, **items):
        form = {}
        for item_id, colours in items.items():
            form[item_id] = {"images": []}
            for place, colour in enumerate(colours):
                filename = f"{name}-{item_id}{place}.png"
                Image.new("RGB", (5, 5), colour).save(tmp_path / filename)
                form[item_id]["images"].append({"filename": filename})
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(form))
        return Catalogue.read(path)

    return make


RED, ORANGE, GREEN, LIME, BLUE = (250, 5, 5), (250, 60, 5), (5, 250, 5), (60, 250, 5), (5, 5, 250)


def test_leave_one_out(catalogue):
    evaluation = evaluate(
        MeanColour(), catalogue("all", warm=[RED, ORANGE], leaf=[GREEN, LIME], sky=[BLUE])
    )
    assert evaluation.figures["recall@1"] == evaluation.figures["map@r"] == 1
    assert evaluation.figures["queries"] == 4 and evaluation.unanswerable == 1
    assert evaluation.figures["gallery"] == 5 and evaluation.figures["items"] == 3
    assert evaluation.skipped == [] and evaluation.model["name"] == "mean colour"


def test_queries_against_a_gallery(catalogue):
    gallery = catalogue("gallery", warm=[RED], leaf=[GREEN, BLUE])
    queries = catalogue("queries", warm=[ORANGE], leaf=[LIME], stranger=[BLUE])
    evaluation = evaluate(MeanColour(), gallery, queries)
    assert evaluation.figures["queries"] == 2 and evaluation.unanswerable == 1
    assert evaluation.figures["gallery"] == 3 and evaluation.figures["items"] == 2
    assert evaluation.figures["recall@1"] == 1
    assert evaluation.figures["map@r"] == (1 + 1 / 2) / 2  # blue is behind red for lime
    with pytest.raises(InputError, match="no query has another picture"):
        evaluate(MeanColour(), gallery, catalogue("others", stranger=[BLUE]))


def test_file_in_both_catalogues_does_not_find_itself(catalogue, tmp_path):
    gallery = catalogue("gallery", warm=[RED, BLUE], leaf=[ORANGE])
    both = evaluate(MeanColour(), gallery, gallery)
    assert both == evaluate(MeanColour(), gallery) and both.figures["recall@1"] == 0

    # The same file under another path: a link to the folder.
    (tmp_path / "link").symlink_to(tmp_path)
    one = tmp_path / "one.json"
    one.write_text('{"warm": {"images": [{"filename": "gallery-warm0.png"}]}}')
    linked = Catalogue.read(one, tmp_path / "link")
    assert evaluate(MeanColour(), gallery, linked).figures["recall@1"] == 0

    # A copy of the file is another picture.
    (tmp_path / "copy.png").write_bytes((tmp_path / "gallery-warm0.png").read_bytes())
    one.write_text('{"warm": {"images": [{"filename": "copy.png"}]}}')
    copied = Catalogue.read(one)
    assert evaluate(MeanColour(), gallery, copied).figures["recall@1"] == 1


def test_unreadable_pictures_are_skipped_and_listed(catalogue, tmp_path):
    gallery = catalogue("gallery", warm=[RED, ORANGE], leaf=[GREEN, LIME])
    (tmp_path / "gallery-leaf0.png").write_bytes(b"not a picture")
    (tmp_path / "gallery-leaf1.png").unlink()
    evaluation = evaluate(MeanColour(), gallery)
    assert [skipped.filename for skipped in evaluation.skipped] == [
        "gallery-leaf0.png",
        "gallery-leaf1.png",
    ]
    assert evaluation.figures["gallery"] == 2 and evaluation.figures["items"] == 1
    form = json.loads(json.dumps(evaluation.as_dict()))
    assert {"figures", "skipped", "unanswerable", "model"} < set(form)
    assert form["skipped"][1] == {
        "item_id": "leaf",
        "filename": "gallery-leaf1.png",
        "reason": "file missing",
    }


def test_no_readable_picture_is_one_error_line(catalogue, tmp_path):
    gallery = catalogue("gallery", warm=[RED, ORANGE])
    queries = catalogue("queries", cold=[BLUE])
    (tmp_path / "queries-cold0.png").unlink()
    with pytest.raises(InputError, match="no picture of the queries in"):
        evaluate(MeanColour(), gallery, queries)
    (tmp_path / "gallery-warm0.png").unlink()
    (tmp_path / "gallery-warm1.png").unlink()
    with pytest.raises(InputError, match="no picture of the catalogue in"):
        evaluate(MeanColour(), gallery)


@pytest.fixture
def labelled(catalogue, tmp_path):
    """Write a catalogue of three items: two share a label, and one has none."""
    made = catalogue("all", warm=[RED, ORANGE, RED], leaf=[GREEN, LIME], sky=[BLUE, (60, 5, 250)])
    form = json.loads((tmp_path / "all.json").read_text())
    form["warm"]["labels"], form["leaf"]["labels"] = ["bright", "hot"], ["bright"]
    (tmp_path / "all.json").write_text(json.dumps(form))
    return Catalogue.read(tmp_path / "all.json", made.image_dir)


def test_by_item_gives_every_item_the_same_weight(catalogue):
    # All three queries of warm find their item, neither of leaf does.
    result = evaluate(MeanColour(), catalogue("all", warm=[RED, RED, RED], leaf=[GREEN, BLUE]))
    assert result.figures["recall@1"] == pytest.approx(3 / 5)
    assert result.by_item["recall@1"] == pytest.approx(1 / 2)
    assert list(result.by_item) == [name for name in result.figures if "@" in name or name == "map"]


def test_metrics_by_label(labelled):
    result = evaluate(MeanColour(), labelled)
    assert list(result.by_label) == ["bright", "hot"]
    assert (result.by_label["bright"]["queries"], result.by_label["bright"]["items"]) == (5, 2)
    assert (result.by_label["hot"]["queries"], result.by_label["hot"]["items"]) == (3, 1)
    assert result.by_label["hot"]["recall@1"] == 1
    assert result.label_recall == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "queries": 5}


def test_label_recall_counts_other_items_but_not_the_query_itself(catalogue, tmp_path):
    catalogue("all", warm=[RED], glow=[ORANGE], leaf=[GREEN], pair=[BLUE, BLUE])
    form = json.loads((tmp_path / "all.json").read_text())
    for item_id, labels in {"warm": ["hot"], "glow": ["hot"], "leaf": ["plant"]}.items():
        form[item_id]["labels"] = labels
    (tmp_path / "all.json").write_text(json.dumps(form))
    result = evaluate(MeanColour(), Catalogue.read(tmp_path / "all.json"))
    assert result.label_recall["recall@1"] == pytest.approx(2 / 3)
    assert result.label_recall["recall@10"] == pytest.approx(2 / 3)
    assert result.label_recall["queries"] == 3 and result.unanswerable == 3


def test_evaluation_as_json(labelled):
    form = json.loads(json.dumps(evaluate(MeanColour(), labelled).as_dict()))
    for kind in ("figures", "by_item"):
        for name, (low, high) in form["intervals"][kind].items():
            assert low <= form[kind][name] + 1e-6 and form[kind][name] <= high + 1e-6
    assert form["verification"]["positives"] == 5  # 3 of warm, 1 of leaf, 1 of sky
    assert form["verification"]["negatives"] == 10  # warm and leaf share a label
    assert form["calibration"]["fingerprint"] == "f" * 64
    assert form["duplicates"]["pairs"][0] == {
        "query": "all-warm0.png",
        "gallery": "all-warm2.png",
        "same_bytes": True,
    }
    assert form["duplicates"]["queries"] == form["duplicates"]["same_bytes"] == 2


def test_single_item_has_no_intervals_verification_or_calibration(catalogue):
    result = evaluate(MeanColour(), catalogue("all", warm=[RED, ORANGE]))
    assert result.figures["recall@1"] == 1
    assert (
        result.intervals is result.verification is result.calibration is result.label_recall is None
    )


def test_seed_changes_the_intervals(labelled, catalogue):
    colours = np.random.default_rng(0).integers(256, size=(12, 3, 3)).tolist()
    many = catalogue("many", **{f"i{n}": [tuple(c) for c in of] for n, of in enumerate(colours)})
    one, same, other = (evaluate(MeanColour(), many, seed=seed).intervals for seed in (0, 0, 1))
    assert one == same and one["figures"] != other["figures"]
