"""Naive retrieval metrics, the reference for the tests of the evaluation."""

from __future__ import annotations

import math

import numpy as np

from siamese.evaluation.metrics import METRICS


def naive_metrics(vectors, item_ids, gallery=None, gallery_item_ids=None, own_rows=None):
    """Compute the metrics by their definitions, picture by picture."""
    if gallery is None:
        gallery, gallery_item_ids, own_rows = vectors, item_ids, range(len(vectors))
    own_rows = [-1] * len(vectors) if own_rows is None else own_rows
    rows = {name: [] for name in METRICS}
    for vector, item_id, own in zip(vectors, item_ids, own_rows, strict=True):
        others = [row for row in range(len(gallery)) if row != own]
        others.sort(key=lambda row: -float(np.dot(vector, gallery[row])))  # a stable sort
        hits = [gallery_item_ids[row] == item_id for row in others]
        r = sum(hits)
        if r == 0:
            continue
        precision = [sum(hits[:place]) / place for place in range(1, len(hits) + 1)]
        for k in (1, 5, 10):
            rows[f"recall@{k}"].append(float(any(hits[:k])))
        rows["precision@10"].append(sum(hits[:10]) / 10)
        rows["map@r"].append(sum(p * hit for p, hit in zip(precision[:r], hits, strict=False)) / r)
        rows["map"].append(sum(p * hit for p, hit in zip(precision, hits, strict=True)) / r)
        gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits[:10]))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(r, 10)))
        rows["ndcg@10"].append(gain / ideal)
    figures = {name: sum(values) / len(values) for name, values in rows.items()}
    return {
        **figures,
        "queries": len(rows["map"]),
        "gallery": len(gallery),
        "items": len(set(gallery_item_ids)),
    }


def unit_vectors(rng, count, size):
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
