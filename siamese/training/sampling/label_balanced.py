"""Batches in which each label is met about equally often."""

from __future__ import annotations

import heapq

import numpy as np

from siamese.training.sampling.item_index import ItemIndex


def balanced_batches(
    items: ItemIndex, steps: int, batch_size: int, pictures_per_item: int, rng: np.random.Generator
) -> np.ndarray:
    """Fill batches with groups of an item's pictures, the least met label first.

    A label is met once with each picture of an item that has it, and the items without labels
    count as those of one more label. Its items take turns, and so do an item's pictures. No
    picture comes twice in a batch: a label with too few of them for an equal share is met with
    all it has in every batch.

    Returns
    -------
    int (steps, batch_size)
    """
    labels_of, items_of = _by_label(items, rng)
    rows = [rng.permutation(of_item).tolist() for of_item in items.rows]
    next_row = [0] * len(rows)
    next_item = [0] * len(items_of)
    met = [0] * len(items_of)
    # Labels by how often they were met; ties go by chance.
    queue = [(0, place, label) for place, label in enumerate(rng.permutation(len(items_of)))]
    batches = np.empty((steps, batch_size), int)
    for batch in batches:
        taken: dict[int, int] = {}
        exhausted = []
        filled = 0
        while filled < batch_size:
            count, tie, label = heapq.heappop(queue)
            if count < met[label]:  # met meanwhile through items that have several labels
                heapq.heappush(queue, (met[label], tie, label))
                continue
            for _ in items_of[label]:
                item = items_of[label][next_item[label] % len(items_of[label])]
                next_item[label] += 1
                left = len(rows[item]) - taken.get(item, 0)
                if left:
                    break
            else:
                exhausted.append((count, tie, label))
                continue
            shown = min(pictures_per_item, left, batch_size - filled)
            for _ in range(shown):
                batch[filled] = rows[item][next_row[item] % len(rows[item])]
                next_row[item] += 1
                filled += 1
            taken[item] = taken.get(item, 0) + shown
            for one in labels_of[item]:
                met[one] += shown
            heapq.heappush(queue, (met[label], tie, label))
        for entry in exhausted:
            heapq.heappush(queue, entry)
    return batches


def _by_label(
    items: ItemIndex, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """The labels of each item, and the items of each label, shuffled."""
    labels, ends, count = items.rule.label_codes()
    labels_of = [of_item.tolist() or [count] for of_item in np.split(labels, ends[:-1])]
    items_of: list[list[int]] = [[] for _ in range(count + 1)]
    for item in rng.permutation(len(items)).tolist():
        for label in labels_of[item]:
            items_of[label].append(item)
    # Without unlabelled items the label that stands for none of its own has no items.
    return labels_of, [of_label for of_label in items_of if of_label]
