"""Calibration of a trained model on its held-out items."""

from __future__ import annotations

from pathlib import Path

from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import calibrate_on_retrieval, get_calibration_path
from siamese.evaluation.metrics import measure_retrieval
from siamese.training.features import Embed
from siamese.training.pair_generator import PairGenerator


def calibrate_on_held_out(checkpoint: Path, held_out: PairGenerator, embed: Embed) -> None:
    """Calibrate a checkpoint, and write the result to a file beside it.

    The calibration is a distance: a query whose nearest picture is farther than this is probably
    not in the catalogue. If there are too few held-out items or pictures, nothing is written.

    Parameters
    ----------
    checkpoint : Path
        Checkpoint of the trained model.
    held_out : PairGenerator
        Generator of the held-out pictures.
    embed : callable
        Function that embeds the pictures; see `siamese.training.features.embed_pictures`.
    """
    embedder = Embedder.load(checkpoint)
    vectors = embed(embedder.model, held_out, None)
    item_ids = [picture.item_id for picture in held_out.pictures]
    try:
        calibration = calibrate_on_retrieval(
            measure_retrieval(vectors, item_ids),
            fingerprint=embedder.facts.fingerprint,
            measured_on="the held-out items of its training",
        )
    except InputError:
        return
    calibration.write(get_calibration_path(checkpoint))
