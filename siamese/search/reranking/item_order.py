"""Rank items from a ranking of their pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ItemOrder(NamedTuple):
    """Items of a ranking of pictures, best first.

    Attributes
    ----------
    positions : ndarray of int, shape (m,)
        Position of each item's best picture in the ranking of pictures.
    complete : ndarray of bool, shape (m,)
        Whether all pictures that count for the item were in the ranking.
    """

    positions: NDArray[np.intp]
    complete: NDArray[np.bool_]


def rank_items(
    scores: NDArray[np.floating],
    items: NDArray[np.intp],
    sizes: NDArray[np.intp],
    pictures: int = 1,
) -> ItemOrder:
    """Rank items by the mean score of their best pictures.

    If the ranking is cut off, pictures beyond its end are assumed to be as good as the last one.
    An item's true score is never better than that, so the order is right up to the first item that
    is not `complete`. Items with equal scores keep the order of their best pictures.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Ascending scores of the first pictures of a ranking.
    items : ndarray of int, shape (n,)
        Number of each picture's item.
    sizes : ndarray of int
        Number of pictures of each item, in the ranking or not.
    pictures : int, default=1
        How many of an item's best pictures count; all if it has fewer.

    Returns
    -------
    ItemOrder
        Items that have a picture in the ranking.

    Examples
    --------
    >>> scores, items = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 0])
    >>> rank_items(scores, items, sizes=np.array([2, 2]), pictures=2).positions.tolist()
    [1, 0]
    """
    found, places, item, counts = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    counting = np.minimum(sizes[found], pictures)
    seen = np.minimum(counts, counting)
    # Position of each picture among those of its item, from 0.
    by_item = np.argsort(item, kind="stable")
    position = np.empty(len(items), np.intp)
    position[by_item] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)

    counts_in = position < counting[item]
    total = np.bincount(item[counts_in], scores[counts_in], minlength=len(found))
    mean = (total + (counting - seen) * scores[-1:]) / counting
    order = np.lexsort((places, mean))
    return ItemOrder(places[order], (seen == counting)[order])
