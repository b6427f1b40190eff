"""Gallery augmentation, which averages each picture's vector with those of its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors


def augment_gallery(
    vectors: NDArray[np.floating], neighbours: int = 3, alpha: float = 3.0
) -> NDArray[np.float32]:
    """Replace each vector with a weighted mean of itself and its nearest neighbours.

    This is database-side augmentation (DBA)::

        v_i' = v_i + Σ_j max(cos(v_i, v_j), 0)^α · v_j,    scaled to length 1

    where j runs over the nearest neighbours of v_i, excluding v_i itself. This takes O(n² d) time
    when the index is built, and does not slow down searches.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Unit-length vectors.
    neighbours : int, default 3
        Number of neighbours per vector.
    alpha : float, default 3.0
        Exponent α ≥ 0; the larger it is, the less weight distant neighbours have.

    Returns
    -------
    float32 array of shape (n, d)
        Unit-length vectors.

    Raises
    ------
    InputError
        If neighbours < 1, or alpha is negative or not finite.

    See Also
    --------
    expand_query : The same for a single vector.

    References
    ----------
    Arandjelović, Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012 (DBA); Gordo et al., "End-to-end learning of deep visual representations for image
    retrieval", IJCV 2017 (weights).
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
    """Move a unit-length vector towards its neighbours (α-weighted query expansion, αQE).

    ::

        v' = v + Σ_i max(cos(v, v_i), 0)^α · v_i,    scaled to length 1

    With α = 0, all neighbours have the same weight; this is average query expansion.

    References
    ----------
    Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.

    Examples
    --------
    >>> expand_query(np.array([1.0, 0]), np.array([[0.6, 0.8]]), alpha=0).round(3).tolist()
    [0.894, 0.447]
    """
    vector = np.asarray(vector, np.float64)
    # Clip at 0: fractional powers of negative cosines are NaN, and negative weights would repel.
    weights = np.maximum(neighbours @ vector, 0) ** alpha
    moved = vector + weights @ neighbours
    return moved / np.linalg.norm(moved)
