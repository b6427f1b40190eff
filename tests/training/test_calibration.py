from __future__ import annotations

import pytest

from siamese.embedding.embedder import Embedder
from siamese.evaluation.calibration import get_calibration_path, read_calibration
from siamese.training.calibration import calibrate_on_held_out
from siamese.training.features import embed_pictures
from siamese.training.pair_generator import PairGenerator


@pytest.mark.slow
def test_a_training_calibrates_its_final_model(run):
    embedder = Embedder.load(run.trained.model)
    found = read_calibration(run.trained.model, embedder.facts.fingerprint)
    assert found is not None and 0 < found.threshold < 2
    assert found.measured_on == "the held-out items of its training"
    assert (found.known, found.unknown, found.gallery) == (16, 16, 16), "4 items are held out"
    assert read_calibration(run.trained.model, "another") is None


def test_too_few_held_out_items_calibrate_nothing(catalogue, checkpoint, monkeypatch):
    held_out = PairGenerator(catalogue, picture_size=32)
    monkeypatch.setattr(held_out, "pictures", held_out.pictures[:4])
    assert len({picture.item_id for picture in held_out.pictures}) == 1
    calibrate_on_held_out(checkpoint, held_out, embed_pictures)
    assert not get_calibration_path(checkpoint).exists()
