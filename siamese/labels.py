"""The label rule: which two pictures make a positive pair, a negative pair, or none.

Labels are coarse (a colour, a shelf), so two items that share one may well look alike: calling
them different would teach the network a falsehood. Every place that makes pairs asks here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

POSITIVE, EXCLUDED, NEGATIVE = 1, 0, -1


def relations(item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Relation of every two rows of a batch.

    ======  =====================================================================
    ``+1``  same item, another row: a positive pair
    ``0``   excluded: the row itself, or different items that share a label
    ``-1``  different items without a common label: a negative pair
    ======  =====================================================================

    Items without labels share none.

    Parameters
    ----------
    item_ids : (n,) item of each row
    labels : (n,) labels of each row's item

    Returns
    -------
    int8 (n, n), symmetric
    """
    if len(item_ids) != len(labels):
        raise ValueError(f"{len(item_ids)} item ids but {len(labels)} sets of labels")
    items, _ = _codes(item_ids)
    same_item = items[:, None] == items[None, :]
    multi_hot = _multi_hot(labels)
    related = np.where(multi_hot @ multi_hot.T > 0, np.int8(EXCLUDED), np.int8(NEGATIVE))
    related[same_item] = POSITIVE
    np.fill_diagonal(related, EXCLUDED)
    return related


def _multi_hot(labels: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """float32 (n, number of different labels): 1 where the row has the label."""
    pairs = [(row, label) for row, of_row in enumerate(labels) for label in of_row]
    columns, width = _codes([label for _, label in pairs])
    multi_hot = np.zeros((len(labels), width), np.float32)
    multi_hot[[row for row, _ in pairs], columns] = 1
    return multi_hot


def _codes(values: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    """Equal values, equal small integers; and how many there are."""
    seen: dict[Hashable, int] = {}
    codes = np.array([seen.setdefault(value, len(seen)) for value in values], np.intp)
    return codes, len(seen)
