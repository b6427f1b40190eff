"""Similarities, distances, sums and means that the losses over relations share."""

from __future__ import annotations

from typing import Any

from keras import ops

EPSILON = 1e-6
"""Squared distances up to this are 0: the rounding error of float32 between equal vectors."""

LARGE = 1e9
"""Stands for ∞ in masked entries: exp(−LARGE) and its gradient are 0, and ∞ − ∞ would be NaN."""


def anchor_similarities(relations: Any, embeddings: Any) -> Any:
    """Compute S = A Eᵀ, the cosine similarities of the anchors A, the first n rows of E.

    Parameters
    ----------
    relations : tensor of shape (n, m)
        Tells the number of anchors.
    embeddings : float tensor of shape (m, d)
        The matrix E, rows of length 1.

    Returns
    -------
    float tensor of shape (n, m)
    """
    anchors = embeddings[: ops.shape(relations)[0]]
    return ops.matmul(anchors, ops.transpose(embeddings))


def squared_distances(similarity: Any) -> Any:
    """Compute D = 2 − 2 S of vectors of length 1; up to `EPSILON` it is 0, without a gradient."""
    squared = 2.0 - 2.0 * similarity
    return ops.where(squared > EPSILON, squared, ops.zeros_like(squared))


def distances(similarity: Any) -> Any:
    """Compute D = √(2 − 2 S) of vectors of length 1; where it is 0, it has no gradient."""
    # The slope of √x is infinite at 0, but no gradient passes through the zeros of `where`.
    return ops.sqrt(squared_distances(similarity))


def masked_logsumexp(x: Any, mask: Any, axis: int = 1) -> Any:
    """Compute log Σ exp(x) over the entries in a mask; about −`LARGE` if there is none."""
    return ops.logsumexp(ops.where(mask, x, ops.full_like(x, -LARGE)), axis=axis)


def masked_log1p_sum_exp(x: Any, mask: Any, axis: int = 1) -> Any:
    """Compute log(1 + Σ exp(x)) over the entries in a mask, without overflow."""
    return ops.softplus(masked_logsumexp(x, mask, axis))


def masked_mean(x: Any, mask: Any, axis: int | None = None) -> Any:
    """Compute the mean of the entries in a mask, of all or along an axis; 0 if there is none."""
    total = ops.sum(ops.where(mask, x, ops.zeros_like(x)), axis=axis)
    count = ops.sum(ops.cast(mask, x.dtype), axis=axis)
    return total / ops.maximum(count, 1.0)
