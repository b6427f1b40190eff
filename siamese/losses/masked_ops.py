"""Similarities, distances, sums and means that the losses over relations share."""

from __future__ import annotations

from typing import Any

from keras import ops

EPSILON = 1e-6
"""Squared distances up to this count as 0: it is the rounding error between equal vectors."""

LARGE = 1e9
"""Replaces ∞, because ∞ − ∞ is NaN; exp(−LARGE) and its gradient are 0."""


def anchor_similarities(relations: Any, embeddings: Any) -> Any:
    """Compute the cosine similarities (n, m) of the anchors, the first n embeddings, to all m."""
    anchors = embeddings[: ops.shape(relations)[0]]
    return ops.matmul(anchors, ops.transpose(embeddings))


def squared_distances(similarity: Any) -> Any:
    """Compute D = 2 − 2 S; where it is at most `EPSILON`, it is set to 0 and has no gradient."""
    squared = 2.0 - 2.0 * similarity
    return ops.where(squared > EPSILON, squared, 0.0)


def distances(similarity: Any) -> Any:
    """Compute D = √(2 − 2 S); where it is 0, it has no gradient."""
    # The slope of √x is infinite at 0, but no gradient passes through the zeros of `where`.
    return ops.sqrt(squared_distances(similarity))


def masked_log1p_sum_exp(x: Any, mask: Any) -> Any:
    """Compute log(1 + Σ exp(x)) over the entries of each row in a mask, without overflow."""
    return ops.softplus(ops.logsumexp(ops.where(mask, x, -LARGE), axis=1))


def masked_mean(x: Any, mask: Any) -> Any:
    """Compute the mean of the entries in a mask, or 0 for an empty mask."""
    total = ops.sum(ops.where(mask, x, 0.0))
    return total / ops.maximum(ops.sum(ops.cast(mask, x.dtype)), 1.0)
