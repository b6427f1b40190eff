"""Map of embeddings: pictures laid out in a plane, with similar pictures close together."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from siamese.reports.canvas import GAP, MARGIN, Canvas

if TYPE_CHECKING:
    from PIL import Image

    from siamese.data.catalogue import Catalogue
    from siamese.embedding.embed_catalogue import Embeddings

MAX_PICTURES = 3000
"""Maximum number of pictures to lay out; t-SNE takes minutes for more."""
MAX_PCA_PICTURES = 10
"""Maximum number of pictures to lay out by PCA instead of t-SNE, which needs more neighbours."""
PCA_DIMENSIONS = 50
"""Number of dimensions passed to t-SNE; more take longer and add mostly noise."""


def draw_embedding_map(
    embeddings: Embeddings,
    catalogue: Catalogue,
    *,
    size: int = 1100,
    thumbnails: int = 400,
    seed: int = 0,
) -> Image.Image:
    """Draw the pictures of a catalogue at the positions that t-SNE gives their embeddings.

    A picture that would overlap another is moved by up to its own size, or left out if no place is
    free.

    Parameters
    ----------
    embeddings : Embeddings
        Embeddings of the catalogue. At most `MAX_PICTURES` of them, chosen at random, are laid out.
    catalogue : Catalogue
        Catalogue that contains the pictures.
    size : int, default 1100
        Side length of the map in points.
    thumbnails : int, default 400
        Maximum number of pictures to draw. The lower it is, the larger the pictures are.
    seed : int, default 0
        Random seed for the sample, the drawing order and the layout.

    References
    ----------
    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.
    """
    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(embeddings.pictures))[:MAX_PICTURES]
    side = round(size / (1.5 * np.sqrt(thumbnails)))
    corners = MARGIN + _lay_out(embeddings.vectors[sample], seed) * (size - 2 * MARGIN - side)
    canvas = Canvas(size, size)
    placed = np.empty((0, 2))
    for row, corner in zip(sample, corners, strict=True):
        nearby = (corner + side * _OFFSETS).round()
        gaps = np.abs(nearby[:, None] - placed).max(axis=2).min(axis=1, initial=np.inf)
        inside = ((nearby >= GAP) & (nearby <= size - side - GAP)).all(axis=1)
        free = nearby[inside & (gaps > side)]
        if len(free):
            path = catalogue.path_of(embeddings.pictures[row])
            canvas.draw_tile(path, (int(free[0, 0]), int(free[0, 1])), width=0, size=side)
            placed = np.vstack([placed, free[:1]])
        if len(placed) == thumbnails:
            break
    return canvas.picture


# Offsets to try for a picture's place, in units of its side length, smallest first.
_OFFSETS = np.array(sorted(product(np.arange(-1, 1.1, 0.25), repeat=2), key=np.linalg.norm))


def _lay_out(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Lay out vectors in the unit square; return a float64 array of shape (n, 2)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    reduced = PCA(min(PCA_DIMENSIONS, *vectors.shape), random_state=seed).fit_transform(vectors)
    if count > MAX_PCA_PICTURES:
        tsne = TSNE(
            perplexity=min(30, (count - 1) / 3), init="pca", max_iter=500, random_state=seed
        )
        places = tsne.fit_transform(reduced)
    else:
        places = np.pad(reduced, ((0, 0), (0, 2)))[:, :2]
    # Ranks fill the map better than t-SNE coordinates, whose distances mean little anyway.
    return (places.argsort(axis=0).argsort(axis=0) + 0.5) / count
