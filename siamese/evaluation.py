"""A model and a catalogue → the table of figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese.errors import InputError
from siamese.metrics import retrieval_metrics

if TYPE_CHECKING:
    from siamese.catalogue import Catalogue
    from siamese.embedding import Embedder, Embeddings, Skipped


@dataclass(frozen=True)
class Evaluation:
    """How well a model finds the pictures of a catalogue.

    Attributes
    ----------
    figures : as `siamese.retrieval_metrics` returns them
    skipped : the pictures that could not be read
    unanswerable : queries with no other picture of their item to find, not in the figures
    model : the facts of the embedder
    """

    figures: dict[str, float | int]
    skipped: list[Skipped]
    unanswerable: int
    model: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


def evaluate(
    embedder: Embedder,
    catalogue: Catalogue,
    queries: Catalogue | None = None,
    *,
    batch_size: int = 32,
) -> Evaluation:
    """Measure retrieval: leave-one-out over a catalogue, or queries against it as a gallery.

    Parameters
    ----------
    embedder : what is measured
    catalogue : the pictures that are searched
    queries : the pictures that are searched for; by default those of `catalogue` itself. A file
        that is in both is left out of its own ranking.
    batch_size : pictures a forward pass

    Raises
    ------
    InputError
        If no picture can be read, or no query has another picture of its item to find.
    """
    gallery = _embedded(embedder, catalogue, batch_size, "the catalogue")
    gallery_ids = [picture.item_id for picture in gallery.pictures]
    if queries is None:
        asked, skipped = gallery, gallery.skipped
        figures = retrieval_metrics(gallery.vectors, gallery_ids)
    else:
        asked = _embedded(embedder, queries, batch_size, "the queries")
        skipped = [*asked.skipped, *gallery.skipped]
        row_of = {
            catalogue.path_of(picture).resolve(): row
            for row, picture in enumerate(gallery.pictures)
        }
        own_rows = [
            row_of.get(queries.path_of(picture).resolve(), -1) for picture in asked.pictures
        ]
        figures = retrieval_metrics(
            asked.vectors,
            [picture.item_id for picture in asked.pictures],
            gallery=gallery.vectors,
            gallery_item_ids=gallery_ids,
            own_rows=np.array(own_rows),
        )
    unanswerable = len(asked.pictures) - int(figures["queries"])
    return Evaluation(figures, skipped, unanswerable, embedder.facts.as_dict())


def _embedded(embedder: Embedder, catalogue: Catalogue, batch_size: int, what: str) -> Embeddings:
    embeddings = embedder.embed_catalogue(catalogue, batch_size=batch_size)
    if not embeddings.pictures:
        raise InputError(
            f"no picture of {what} in {catalogue.image_dir} can be read; run siamese check"
        )
    return embeddings
