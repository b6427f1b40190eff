"""Calibrate a trained model on its held-out items."""

from __future__ import annotations

from pathlib import Path

from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import calibrate_on_retrieval, get_calibration_path
from siamese.evaluation.metrics import measure_retrieval
from siamese.training.features import Embed
from siamese.training.pair_generator import PairGenerator


def calibrate_on_held_out(checkpoint: Path, held_out: PairGenerator, embed: Embed) -> None:
    """Write the distance beyond which a query is not in the catalogue, beside a checkpoint.

    Nothing is written if there are too few held-out items or pictures.

    Parameters
    ----------
    checkpoint : Path
        The trained model.
    held_out : PairGenerator
        Pictures of held-out items.
    embed : callable
        Embeds the pictures, see `siamese.training.features.embed_pictures`.
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
