"""From which distance on to say "we don't have this": a threshold, and how often it is right."""

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

CRITERION = "balanced accuracy"
FORMAT = 1


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold on the distance of a query to the nearest picture of a gallery.

    Beyond it, the gallery is taken not to have the query's item. Precision and recall are those
    of saying so, for as many queries whose item is missing as queries whose item is there.

    Attributes
    ----------
    threshold : distance, ‖v_i - v_j‖ of vectors of length 1, from 0 to 2
    precision : share of those said to be missing that are missing
    recall : share of those missing that are said to be missing
    balanced_accuracy : the mean of the shares of both kinds that are judged rightly; the highest
        of all thresholds
    known, unknown : how many queries with and without their item it was measured on
    gallery : how many pictures were searched
    fingerprint : of the model; distances mean nothing for another
    measured_on : the labelled data
    """

    threshold: float
    precision: float
    recall: float
    balanced_accuracy: float
    known: int
    unknown: int
    gallery: int
    fingerprint: str
    measured_on: str
    criterion: str = CRITERION
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def get_calibration_path(model: str | os.PathLike[str]) -> Path:
    """Where the calibration of a checkpoint lies: beside it, as ``STEM.calibration.json``."""
    return Path(model).with_suffix(".calibration.json")


def read_calibration(model: str | os.PathLike[str], fingerprint: str) -> Calibration | None:
    """Read what `Calibration.write` left beside a checkpoint; None where there is nothing usable.

    A damaged file, or one of another model, is said in one line on standard error.

    Parameters
    ----------
    model : the checkpoint
    fingerprint : of the model that is used
    """
    path = get_calibration_path(model)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"unreadable ({error.strerror or error})"
    except (msgspec.DecodeError, UnicodeDecodeError):
        described = describe_artefact(path, other_than=(Artefact.CALIBRATION,))
        why = "damaged" if described is None else f"not a calibration but {described}"
    else:
        if found.format != FORMAT:
            why = f"of format {found.format}, which this version does not know"
        elif not 0 <= found.threshold <= 2:
            why = "damaged"
        elif found.fingerprint != fingerprint:
            why = "of another model"
        else:
            return found
    print(
        f"warning: {path}: {why}, and so not used; siamese evaluate --calibrate writes it anew",
        file=sys.stderr,
    )
    return None


def calibrate_threshold(
    known: ArrayLike, unknown: ArrayLike, *, gallery: int, fingerprint: str, measured_on: str
) -> Calibration:
    """Choose the threshold that tells best whether the gallery has a query's item.

    Of all thresholds t, the one of the highest balanced accuracy, half-way to the next distance::

        (|{known ≤ t}| / |known| + |{unknown > t}| / |unknown|) / 2

    Parameters
    ----------
    known : distances to the nearest picture, of queries whose item is there
    unknown : the same, of queries whose item is not
    gallery, fingerprint, measured_on : see `Calibration`

    Raises
    ------
    InputError
        If there is no query of one of the kinds.
    """
    known, unknown = np.asarray(known, np.float64), np.asarray(unknown, np.float64)
    if not len(known) or not len(unknown):
        raise InputError(
            "calibration needs two items, and one with two pictures: queries whose item is there, "
            "and queries whose item is not; give more items"
        )
    told = measure_verification(
        np.concatenate([known, unknown]), np.repeat([1, 0], [len(known), len(unknown)])
    )
    recall = float(np.mean(unknown > told.threshold))
    mistaken = float(np.mean(known > told.threshold))
    return Calibration(
        threshold=told.threshold,
        precision=recall / (recall + mistaken) if recall else 0.0,
        recall=recall,
        balanced_accuracy=told.accuracy,
        known=len(known),
        unknown=len(unknown),
        gallery=gallery,
        fingerprint=fingerprint,
        measured_on=measured_on,
    )


def calibrate_on_retrieval(
    done: RetrievalResult, *, fingerprint: str, measured_on: str
) -> Calibration:
    """`calibrate_threshold` on the queries of a retrieval, each as one that is known and as one that is not.

    Known: the distance to the nearest picture but its own. Unknown: to the nearest one of another
    item, as if the gallery lacked its item; items that share a label with it stay, because they
    would be in such a gallery too, and are what an item is mistaken for.
    """
    nearest = np.maximum(done.nearest_relevant, done.nearest_other)[done.has_relevant]
    other = done.nearest_other[np.isfinite(done.nearest_other)]
    return calibrate_threshold(
        _distances(nearest),
        _distances(other),
        gallery=done.gallery,
        fingerprint=fingerprint,
        measured_on=measured_on,
    )


def _distances(cosines: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(0, 2 - 2 * cosines.astype(np.float64)))
