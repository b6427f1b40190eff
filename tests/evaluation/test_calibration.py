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


def test_threshold_has_the_highest_balanced_accuracy():
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(0.6, 0.2, 70).clip(0, 2), rng.normal(0.9, 0.2, 40).clip(0, 2)
    calibration = calibrate_threshold(known, unknown, **FACTS)

    def balanced(threshold):
        return (np.mean(known <= threshold) + np.mean(unknown > threshold)) / 2

    best = max(balanced(threshold) for threshold in [*known, *unknown])
    assert calibration.balanced_accuracy == pytest.approx(best) == balanced(calibration.threshold)
    assert calibration.recall == np.mean(unknown > calibration.threshold)
    # With as many known as unknown queries: each known one counts 40 / 70.
    said = np.sum(unknown > calibration.threshold), np.sum(known > calibration.threshold) * 40 / 70
    assert calibration.precision == pytest.approx(said[0] / sum(said))
    assert (calibration.known, calibration.unknown) == (70, 40)


def test_each_query_of_a_retrieval_counts_as_known_and_unknown():
    angles = np.radians([0, 10, 50, 65, 120])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    calibration = calibrate_on_retrieval(
        measure_retrieval(vectors, list("aabbc")), fingerprint="abc", measured_on="test.json"
    )
    # Known: 10, 10, 15, 15 degrees away. Unknown: 50, 40, 40, 55, and 55 for the lone c.
    assert (calibration.known, calibration.unknown, calibration.gallery) == (4, 5, 5)
    near, far = 2 * np.sin(np.radians([15, 40]) / 2)
    assert calibration.threshold == pytest.approx((near + far) / 2)
    assert calibration.precision == calibration.recall == 1


def test_calibration_needs_known_and_unknown_queries():
    with pytest.raises(InputError, match="needs at least two items"):
        calibrate_threshold([0.5], [], **FACTS)
    with pytest.raises(InputError, match="needs at least two items"):
        calibrate_on_retrieval(
            measure_retrieval(np.eye(2), "aa"), fingerprint="abc", measured_on="test.json"
        )


def test_written_calibration_is_read_back(tmp_path, capsys):
    model = tmp_path / "final_model.hdf5"
    assert get_calibration_path(model) == tmp_path / "final_model.calibration.json"
    assert read_calibration(model, "abc") is None
    calibration = calibrate_threshold([0.2, 0.3], [0.8, 0.9], **FACTS)
    calibration.write(get_calibration_path(model))
    assert read_calibration(model, "abc") == calibration
    assert json.loads(get_calibration_path(model).read_text()) == calibration.as_dict()
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
def test_unusable_calibration_is_reported_in_one_line(tmp_path, capsys, change, why):
    path = get_calibration_path(tmp_path / "model.hdf5")
    calibrate_threshold([0.2, 0.3], [0.8, 0.9], **FACTS).write(path)
    path.write_text(change(path.read_text()))
    assert read_calibration(tmp_path / "model.hdf5", "abc") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path}: ") and why in line


def test_folder_instead_of_a_calibration_is_reported_in_one_line(tmp_path, capsys):
    get_calibration_path(tmp_path / "model.hdf5").mkdir()
    assert read_calibration(tmp_path / "model.hdf5", "abc") is None
    assert "cannot be read" in capsys.readouterr().err
