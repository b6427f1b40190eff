"""What the losses over relations share: cosines, distances, and sums and means of what counts."""

from __future__ import annotations

from typing import Any

from keras import ops

EPSILON = 1e-6
"""Squared distances up to it are 0: about what float32 makes of two equal vectors of length 1."""

NOTHING = -1e9
"""In place of what a mask leaves out: exp of it is 0, and so is its gradient. It is finite, for
∞ − ∞ and 0 · ∞ are NaN."""


def cosines(relations: Any, embeddings: Any) -> Any:
    """S = A Eᵀ, with A the first n rows of E: (n, m) relations, (m, d) embeddings → (n, m)."""
    anchors = embeddings[: ops.shape(relations)[0]]
    return ops.matmul(anchors, ops.transpose(embeddings))


def squared_distances(similarity: Any) -> Any:
    """d² = 2 − 2 S of vectors of length 1; at most ε is 0, without a gradient."""
    squared = 2.0 - 2.0 * similarity
    return ops.where(squared > EPSILON, squared, ops.zeros_like(squared))


def distances(similarity: Any) -> Any:
    """d = √(2 − 2 S) of vectors of length 1; at most √ε is 0, without a gradient."""
    # The slope of √x is infinite at 0, but what is 0 here passes no gradient on.
    return ops.sqrt(squared_distances(similarity))


def log_sum_exp(x: Any, mask: Any, axis: int = 1) -> Any:
    """log Σ exp(x) over the masked entries along an axis, `NOTHING` (about) where there is none."""
    return ops.logsumexp(ops.where(mask, x, ops.full_like(x, NOTHING)), axis=axis)


def log_one_plus_sum_exp(x: Any, mask: Any, axis: int = 1) -> Any:
    """log(1 + Σ exp(x)) over the masked entries along an axis, without overflow."""
    return ops.softplus(log_sum_exp(x, mask, axis))


def mean_of(x: Any, mask: Any, axis: int | None = None) -> Any:
    """Mean of the masked entries, of all or along an axis; 0 where there is none."""
    total = ops.sum(ops.where(mask, x, ops.zeros_like(x)), axis=axis)
    count = ops.sum(ops.cast(mask, x.dtype), axis=axis)
    return total / ops.maximum(count, 1.0)
