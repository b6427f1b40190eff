"""Similarities, distances and masked reductions shared by the losses on relations."""

from __future__ import annotations

from typing import Any

from keras import ops

EPSILON = 1e-6
"""Squared distances up to this are set to 0, because rounding errors can be this large."""

LARGE = 1e9
"""Stand-in for ∞, because ∞ − ∞ is NaN; exp(−LARGE) and its gradient are 0."""


def anchor_similarities(relations: Any, embeddings: Any) -> Any:
    """Compute the cosine similarities (n, m) of the first n embeddings (the anchors) to all m."""
    anchors = embeddings[: ops.shape(relations)[0]]
    return ops.matmul(anchors, ops.transpose(embeddings))


def squared_distances(similarity: Any) -> Any:
    """Compute squared distances, 2 − 2 · similarity; replace those up to `EPSILON` by 0."""
    squared = 2.0 - 2.0 * similarity
    return ops.where(squared > EPSILON, squared, 0.0)


def distances(similarity: Any) -> Any:
    """Compute distances, √(2 − 2 · similarity); where a distance is 0, its gradient is 0 too."""
    # √x has an infinite slope at 0, but `where` blocks the gradient of the values it replaced.
    return ops.sqrt(squared_distances(similarity))


def masked_log1p_sum_exp(x: Any, mask: Any) -> Any:
    """Compute log(1 + Σ exp(x)) over the entries of each row where `mask` is true."""
    return ops.softplus(ops.logsumexp(ops.where(mask, x, -LARGE), axis=1))


def masked_mean(x: Any, mask: Any) -> Any:
    """Compute the mean of the entries where `mask` is true, or 0 if it is false everywhere."""
    total = ops.sum(ops.where(mask, x, 0.0))
    return total / ops.maximum(ops.sum(ops.cast(mask, x.dtype)), 1.0)
