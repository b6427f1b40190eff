"""Database-side augmentation: each picture of a gallery speaks for its neighbours too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors


def augment_gallery(
    vectors: NDArray[np.floating], neighbours: int = 3, alpha: float = 3.0
) -> NDArray[np.float32]:
    """Replace each vector by the weighted mean of itself and its nearest others (DBA).

    The mean is that of `expand_query`: ``v_i + Σ_j max(cos(v_i, v_j), 0)^α · v_j`` over the nearest
    pictures j ≠ i, scaled to length 1. It takes n² · d steps for n pictures, once, and costs a
    search nothing.

    Parameters
    ----------
    vectors : (n, d), of length 1
    neighbours : how many others; all, where there are fewer
    alpha : see `expand_query`

    Returns
    -------
    float32 (n, d), of length 1

    Raises
    ------
    InputError
        If neighbours < 1 or alpha < 0.

    References
    ----------
    Arandjelović, Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012 (DBA); Gordo et al., "End-to-end learning of deep visual representations for image
    retrieval", IJCV 2017 (weighted).
    """
    if neighbours < 1 or not 0 <= alpha < np.inf:
        raise InputError(
            f"neighbours is {neighbours}, alpha {alpha}; they must be at least 1 and 0"
        )
    vectors = np.asarray(vectors, np.float32)
    count = len(vectors)
    neighbours = min(neighbours, count - 1)
    if neighbours < 1:
        return vectors.copy()
    unit_vectors = UnitVectors(vectors, "vectors to augment")
    _, rows = nearest(unit_vectors, unit_vectors, neighbours, own=np.arange(count))
    augmented = np.empty_like(vectors)
    for row, near in enumerate(rows):
        augmented[row] = expand_query(vectors[row], vectors[near], alpha)
    return augmented


def expand_query(
    vector: NDArray[np.floating], neighbours: NDArray[np.floating], alpha: float
) -> NDArray[np.float64]:
    """Move a vector towards its neighbours, the nearer ones counting more (αQE).

    ::

        v' = v + Σ_i max(cos(v, v_i), 0)^α · v_i,    scaled to length 1

    With α = 0 all count alike, the average query expansion; the greater α, the less the far
    ones count.

    Parameters
    ----------
    vector : (d,), of length 1
    neighbours : (n, d), of length 1
    alpha : α ≥ 0

    Returns
    -------
    float64 (d,), of length 1

    References
    ----------
    Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation",
    TPAMI 2019 (αQE).
    """
    vector = np.asarray(vector, np.float64)
    # Opposite neighbours do not count: no root of a negative cosine, and no pushing away.
    weights = np.maximum(neighbours @ vector, 0) ** alpha
    moved = vector + weights @ neighbours
    return moved / np.linalg.norm(moved)
