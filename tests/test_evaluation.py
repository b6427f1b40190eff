from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from siamese.catalogue import Catalogue
from siamese.embedding import Embeddings, ModelFacts, Skipped
from siamese.errors import InputError
from siamese.evaluation import evaluate
from siamese.images import PictureError, square_picture


class MeanColour:
    """An embedder that needs no network."""

    facts = ModelFacts("mean colour", "f" * 64, 3, 8, None)

    def embed_catalogue(self, catalogue, *, batch_size=32):
        pictures, vectors, skipped = [], [], []
        for picture in catalogue.pictures:
            try:
                vectors.append(square_picture(catalogue.path_of(picture), 8).mean((0, 1)))
                pictures.append(picture)
            except PictureError as error:
                skipped.append(Skipped(picture.item_id, picture.filename, str(error)))
        vectors = np.array(vectors, np.float32).reshape(-1, 3)
        return Embeddings(
            pictures, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), skipped
        )


@pytest.fixture
def catalogue(tmp_path):
    """Make a catalogue of items of one colour each; one item has a single picture."""

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


def test_a_file_in_both_is_not_found_by_itself(catalogue, tmp_path):
    gallery = catalogue("gallery", warm=[RED, BLUE], leaf=[ORANGE])
    both = evaluate(MeanColour(), gallery, gallery)
    assert both == evaluate(MeanColour(), gallery) and both.figures["recall@1"] == 0

    # The same file by another way: a link to the folder.
    (tmp_path / "link").symlink_to(tmp_path)
    one = tmp_path / "one.json"
    one.write_text('{"warm": {"images": [{"filename": "gallery-warm0.png"}]}}')
    linked = Catalogue.read(one, tmp_path / "link")
    assert evaluate(MeanColour(), gallery, linked).figures["recall@1"] == 0

    # A copy of it is another picture.
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
    assert list(form) == ["figures", "skipped", "unanswerable", "model"]
    assert form["skipped"][1] == {
        "item_id": "leaf",
        "filename": "gallery-leaf1.png",
        "reason": "file missing",
    }


def test_nothing_readable_is_one_line(catalogue, tmp_path):
    gallery = catalogue("gallery", warm=[RED, ORANGE])
    queries = catalogue("queries", cold=[BLUE])
    (tmp_path / "queries-cold0.png").unlink()
    with pytest.raises(InputError, match="no picture of the queries in"):
        evaluate(MeanColour(), gallery, queries)
    (tmp_path / "gallery-warm0.png").unlink()
    (tmp_path / "gallery-warm1.png").unlink()
    with pytest.raises(InputError, match="no picture of the catalogue in"):
        evaluate(MeanColour(), gallery)
