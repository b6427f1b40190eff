"""A map of the embeddings: pictures that the model takes for alike lie side by side."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from siamese.reports.canvas import GAP, MARGIN, Canvas

if TYPE_CHECKING:
    from PIL import Image

    from siamese.data.catalogue import Catalogue
    from siamese.embedding.embed_catalogue import Embeddings

MOST_PICTURES = 3000
"""t-SNE takes minutes for more."""
FEW_PICTURES = 10
"""Up to so many have no neighbourhoods to speak of: their two principal components must do."""
PCA_SIZE = 50
"""Dimensions that t-SNE is given; the rest is noise to it, and time."""


def draw_embedding_map(
    embeddings: Embeddings,
    catalogue: Catalogue,
    *,
    size: int = 1100,
    thumbnails: int = 400,
    seed: int = 0,
) -> Image.Image:
    """Lay embeddings out in the plane by t-SNE, with the pictures at their places.

    A picture that would cover another one stands aside, by its own side at most, or is left out
    where there is no room either: every picture can be made out.

    Parameters
    ----------
    embeddings : of the catalogue; `MOST_PICTURES` of them, drawn at random, are laid out
    size : of a side, in points
    thumbnails : so many are shown at most; the fewer, the larger
    seed : decides the sample, the layout and which of two pictures is left out

    References
    ----------
    van der Maaten, Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(embeddings.pictures))[:MOST_PICTURES]
    side = round(size / (1.5 * np.sqrt(thumbnails)))
    corners = MARGIN + _layout(embeddings.vectors[drawn], seed) * (size - 2 * MARGIN - side)
    canvas = Canvas(size, size)
    placed = np.empty((0, 2))
    for row, corner in zip(drawn, corners, strict=True):
        nearby = (corner + side * _ASIDE).round()
        gaps = np.abs(nearby[:, None] - placed).max(axis=2).min(axis=1, initial=np.inf)
        inside = ((nearby >= GAP) & (nearby <= size - side - GAP)).all(axis=1)
        free = nearby[inside & (gaps > side)]
        if len(free):
            path = catalogue.path_of(embeddings.pictures[row])
            canvas.tile(path, (int(free[0, 0]), int(free[0, 1])), width=0, size=side)
            placed = np.vstack([placed, free[:1]])
        if len(placed) == thumbnails:
            break
    return canvas.picture


# Where a picture may stand instead of its place, in sides of a thumbnail: the nearest first.
_ASIDE = np.array(sorted(product(np.arange(-1, 1.1, 0.25), repeat=2), key=np.linalg.norm))


def _layout(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Places in the unit square: float64 (n, 2)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    reduced = PCA(min(PCA_SIZE, *vectors.shape), random_state=seed).fit_transform(vectors)
    if count > FEW_PICTURES:
        tsne = TSNE(
            perplexity=min(30, (count - 1) / 3), init="pca", max_iter=500, random_state=seed
        )
        places = tsne.fit_transform(reduced)
    else:
        places = np.pad(reduced, ((0, 0), (0, 2)))[:, :2]
    # Ranks, not places: the map has no scale anyway, and so no corner of it stays empty.
    return (places.argsort(axis=0).argsort(axis=0) + 0.5) / count
