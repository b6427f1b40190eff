from __future__ import annotations

import json

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.evaluation.calibration import (
    calibrate_on_retrieval,
    calibrate_threshold,
    get_calibration_path,
    read_calibration,
)
from siamese.evaluation.metrics import measure_retrieval

FACTS = {"gallery": 10, "fingerprint": "abc", "measured_on": "test.json"}


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(0.6, 0.2, 70).clip(0, 2), rng.normal(0.9, 0.2, 40).clip(0, 2)
    done = calibrate_threshold(known, unknown, **FACTS)

    def balanced(threshold):
        return (np.mean(known <= threshold) + np.mean(unknown > threshold)) / 2

    best = max(balanced(threshold) for threshold in [*known, *unknown])
    assert done.balanced_accuracy == pytest.approx(best) == balanced(done.threshold)
    assert done.recall == np.mean(unknown > done.threshold)
    # As many of both: each known one counts 40 / 70.
    said = np.sum(unknown > done.threshold), np.sum(known > done.threshold) * 40 / 70
    assert done.precision == pytest.approx(said[0] / sum(said))
    assert (done.known, done.unknown) == (70, 40)


def test_known_and_unknown_are_the_queries_of_a_retrieval():
    angles = np.radians([0, 10, 50, 65, 120])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    done = calibrate_on_retrieval(
        measure_retrieval(vectors, list("aabbc")), fingerprint="abc", measured_on="test.json"
    )
    # Known: 10, 10, 15, 15 degrees away. Unknown: 50, 40, 40, 55, and 55 for the lone c.
    assert (done.known, done.unknown, done.gallery) == (4, 5, 5)
    near, far = 2 * np.sin(np.radians([15, 40]) / 2)
    assert done.threshold == pytest.approx((near + far) / 2)
    assert done.precision == done.recall == 1


def test_one_kind_of_queries_is_one_clear_line():
    with pytest.raises(InputError, match="needs at least two items"):
        calibrate_threshold([0.5], [], **FACTS)
    with pytest.raises(InputError, match="needs at least two items"):
        calibrate_on_retrieval(
            measure_retrieval(np.eye(2), "aa"), fingerprint="abc", measured_on="test.json"
        )


def test_what_is_written_is_read_back(tmp_path, capsys):
    model = tmp_path / "final_model.hdf5"
    assert get_calibration_path(model) == tmp_path / "final_model.calibration.json"
    assert read_calibration(model, "abc") is None
    done = calibrate_threshold([0.2, 0.3], [0.8, 0.9], **FACTS)
    done.write(get_calibration_path(model))
    assert read_calibration(model, "abc") == done
    assert json.loads(get_calibration_path(model).read_text()) == done.as_dict()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:40], "damaged"),
        (lambda text: text.replace('"threshold"', '"limit"'), "damaged"),
        (lambda text: text.replace('"threshold": 0.', '"threshold": 9.'), "damaged"),
        (lambda text: "\x00", "damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2"),
        (lambda text: text.replace('"abc"', '"abd"'), "another model"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, capsys, change, why):
    path = get_calibration_path(tmp_path / "model.hdf5")
    calibrate_threshold([0.2, 0.3], [0.8, 0.9], **FACTS).write(path)
    path.write_text(change(path.read_text()))
    assert read_calibration(tmp_path / "model.hdf5", "abc") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path}: ") and why in line


def test_a_folder_in_its_place_is_one_line(tmp_path, capsys):
    get_calibration_path(tmp_path / "model.hdf5").mkdir()
    assert read_calibration(tmp_path / "model.hdf5", "abc") is None
    assert "cannot be read" in capsys.readouterr().err
