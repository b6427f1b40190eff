"""Calibrate the distance beyond which a query's item counts as not in the gallery."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from siamese.errors import InputError
from siamese.evaluation.metrics import RetrievalResult
from siamese.evaluation.verification import measure_verification
from siamese.utils.artefacts import Artefact, describe_artefact
from siamese.utils.files import atomic_path

FORMAT = 1


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Distance beyond which a query's item counts as not in the gallery."""

    threshold: float  # largest distance ‖u - v‖ of a known query to its nearest picture, 0 to 2
    precision: float  # of finding the unknown queries, if there were as many known ones
    recall: float
    balanced_accuracy: float  # mean fraction of known and of unknown queries judged correctly
    known: int  # number of queries with their item in the gallery
    unknown: int  # number of queries without
    gallery: int  # number of pictures in the gallery
    fingerprint: str  # of the model; the distances of another model differ
    measured_on: str  # name of the labelled data
    criterion: str = "balanced accuracy"  # what the threshold maximises
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict, for JSON."""
        return msgspec.to_builtins(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def get_calibration_path(model: str | os.PathLike[str]) -> Path:
    """Return the path of a checkpoint's calibration: ``STEM.calibration.json`` beside it."""
    return Path(model).with_suffix(".calibration.json")


def read_calibration(model: str | os.PathLike[str], fingerprint: str) -> Calibration | None:
    """Read the calibration of a checkpoint, or return None if there is no usable one.

    A file that is damaged or belongs to another model is reported on standard error.
    """
    path = get_calibration_path(model)
    try:
        calibration = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    except (msgspec.DecodeError, UnicodeDecodeError):
        described = describe_artefact(path, other_than=(Artefact.CALIBRATION,))
        reason = "damaged" if described is None else f"not a calibration but {described}"
    else:
        if calibration.format != FORMAT:
            reason = f"format {calibration.format}, which this version cannot read"
        elif not 0 <= calibration.threshold <= 2:
            reason = "damaged"
        elif calibration.fingerprint != fingerprint:
            reason = "belongs to another model"
        else:
            return calibration
    print(
        f"warning: {path}: {reason}, so it is ignored; write a new one with siamese evaluate "
        "--calibrate",
        file=sys.stderr,
    )
    return None


def calibrate_threshold(
    known: ArrayLike, unknown: ArrayLike, *, gallery: int, fingerprint: str, measured_on: str
) -> Calibration:
    """Choose the threshold that best separates known from unknown queries.

    The threshold t maximises the balanced accuracy and lies halfway to the next larger distance::

        (|{known ≤ t}| / |known| + |{unknown > t}| / |unknown|) / 2

    `known` and `unknown` are the distances to the nearest picture for queries whose item is in
    the gallery, and for others.
    """
    known, unknown = np.asarray(known, np.float64), np.asarray(unknown, np.float64)
    if not len(known) or not len(unknown):
        raise InputError(
            "calibration needs at least two items, one of them with two pictures; give more items"
        )
    separation = measure_verification(
        np.concatenate([known, unknown]), np.repeat([1, 0], [len(known), len(unknown)])
    )
    recall = float(np.mean(unknown > separation.threshold))
    false_alarms = float(np.mean(known > separation.threshold))
    return Calibration(
        threshold=separation.threshold,
        precision=recall / (recall + false_alarms) if recall else 0.0,
        recall=recall,
        balanced_accuracy=separation.accuracy,
        known=len(known),
        unknown=len(unknown),
        gallery=gallery,
        fingerprint=fingerprint,
        measured_on=measured_on,
    )


def calibrate_on_retrieval(
    retrieval: RetrievalResult, *, fingerprint: str, measured_on: str
) -> Calibration:
    """Choose the threshold from the queries of a retrieval.

    Each query counts twice: as known, at the distance to its nearest other picture; and as
    unknown, at the distance to the nearest picture of another item, as if the gallery lacked its
    own. Items with a common label stay in the gallery, as they do in practice.
    """
    nearest = np.maximum(retrieval.nearest_relevant, retrieval.nearest_other)
    others = retrieval.nearest_other[np.isfinite(retrieval.nearest_other)]
    return calibrate_threshold(
        _to_distances(nearest[retrieval.has_relevant]),
        _to_distances(others),
        gallery=retrieval.gallery_size,
        fingerprint=fingerprint,
        measured_on=measured_on,
    )


def _to_distances(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(0, 2 - 2 * cosines.astype(np.float64)))
