"""Label-balanced batches, in which each label appears about equally often."""

from __future__ import annotations

import heapq

import numpy as np

from siamese.training.sampling.item_index import ItemIndex


def draw_balanced_batches(
    items: ItemIndex, steps: int, batch_size: int, pictures_per_item: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw batches by repeatedly adding pictures of an item that has the least-shown label.

    Each drawn picture counts once for each label of its item; all items without labels count as
    having one extra label. The items of a label take turns, and so do an item's pictures. No
    picture appears twice in a batch, so a label with too few pictures for an equal share has all
    its pictures in every batch.

    Parameters
    ----------
    items : ItemIndex
        Items and labels of the rows.
    steps : int
        Number of batches.
    batch_size : int
        Number of rows per batch.
    pictures_per_item : int
        Maximum number of rows to add from an item at a time.
    rng : numpy.random.Generator
        Random number generator.

    Returns
    -------
    int ndarray of shape (steps, batch_size)
        Rows.
    """
    item_labels, label_items = _shuffle_by_label(items, rng)
    item_rows = [rng.permutation(rows).tolist() for rows in items.item_rows]
    next_row = [0] * len(item_rows)
    next_item = [0] * len(label_items)
    shown = [0] * len(label_items)
    # Priority queue of labels, least shown first; ties are broken at random.
    queue = [(0, tie, label) for tie, label in enumerate(rng.permutation(len(label_items)))]
    batches = np.empty((steps, batch_size), int)
    for batch in batches:
        taken: dict[int, int] = {}
        exhausted = []
        filled = 0
        while filled < batch_size:
            count, tie, label = heapq.heappop(queue)
            if count < shown[label]:  # outdated: an item of other labels raised it
                heapq.heappush(queue, (shown[label], tie, label))
                continue
            for _ in label_items[label]:
                item = label_items[label][next_item[label] % len(label_items[label])]
                next_item[label] += 1
                left = len(item_rows[item]) - taken.get(item, 0)
                if left:
                    break
            else:
                exhausted.append((count, tie, label))
                continue
            size = min(pictures_per_item, left, batch_size - filled)
            for _ in range(size):
                batch[filled] = item_rows[item][next_row[item] % len(item_rows[item])]
                next_row[item] += 1
                filled += 1
            taken[item] = taken.get(item, 0) + size
            for item_label in item_labels[item]:
                shown[item_label] += size
            heapq.heappush(queue, (shown[label], tie, label))
        for entry in exhausted:
            heapq.heappush(queue, entry)
    return batches


def _shuffle_by_label(
    items: ItemIndex, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the labels of each item, and the items of each label, shuffled."""
    labels, ends, count = items.rule.label_codes()
    item_labels = [codes.tolist() or [count] for codes in np.split(labels, ends[:-1])]
    label_items: list[list[int]] = [[] for _ in range(count + 1)]
    for item in rng.permutation(len(items)).tolist():
        for label in item_labels[item]:
            label_items[label].append(item)
    # The last list holds the items without labels; drop it if it is empty.
    return item_labels, [members for members in label_items if members]
