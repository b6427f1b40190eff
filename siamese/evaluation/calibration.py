"""Calibration of the distance beyond which a query's item is judged not to be in the gallery."""

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
    """Distance beyond which a query's item is judged not to be in the gallery ("unknown")."""

    threshold: float  # a query farther than this from its nearest picture is unknown; 0 to 2
    precision: float  # of detecting unknown queries, given equal numbers of known and unknown ones
    recall: float  # fraction of the unknown queries that are detected
    balanced_accuracy: float  # mean of the fractions of known and unknown queries judged correctly
    known: int  # number of queries whose item is in the gallery
    unknown: int  # number of queries whose item is not in the gallery
    gallery: int  # number of pictures in the gallery
    fingerprint: str  # of the model for which the threshold is valid
    measured_on: str  # name of the labelled data
    criterion: str = "balanced accuracy"  # the quantity that the threshold maximises
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict that can be written as JSON."""
        return msgspec.to_builtins(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def get_calibration_path(model: str | os.PathLike[str]) -> Path:
    """Return the path of a checkpoint's calibration, ``STEM.calibration.json`` in its folder."""
    return Path(model).with_suffix(".calibration.json")


def read_calibration(model: str | os.PathLike[str], fingerprint: str) -> Calibration | None:
    """Read the calibration of a checkpoint; return None if it is missing or cannot be used.

    If the file exists but cannot be used, a warning on standard error says why.
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

    The threshold is the distance t of the highest balanced accuracy, moved halfway to the next::

        (|{known ≤ t}| / |known| + |{unknown > t}| / |unknown|) / 2

    `known` and `unknown` hold the distances from queries to their nearest pictures: `known` for
    queries whose item is in the gallery, `unknown` for all others.
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
    """Choose the threshold from the results of a retrieval evaluation.

    A query counts as known, with the distance to its nearest picture, if the gallery has other
    pictures of its item. Every query also counts as unknown, with the distance to the nearest
    picture of another item, as if its own item were missing; items that share its labels stay.
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
