"""From a ranking of pictures to one of the items they show."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ItemOrder(NamedTuple):
    """The items of a ranking, best first.

    Attributes
    ----------
    places : int (m,), where the best picture of each item stands in the ranking of pictures
    sure : bool (m,), whether all pictures that count for an item were in it
    """

    places: NDArray[np.intp]
    sure: NDArray[np.bool_]


def item_order(
    scores: NDArray[np.floating],
    items: NDArray[np.intp],
    sizes: NDArray[np.intp],
    pictures: int = 1,
) -> ItemOrder:
    """Rank items by the mean score of their best pictures.

    An item counts with its `pictures` best, or with all where it has fewer; with 1, that is its
    best picture. What lies beyond the end of the ranking is taken to be as good as the last: an
    item is never better than it seems, so that the order is right as far as all before are
    `sure`. Equally good items keep the order of their best pictures.

    Parameters
    ----------
    scores : (n,), ascending: the first part of a ranking of pictures
    items : int (n,), the number of each picture's item
    sizes : int, how many pictures the item of each number has in all
    pictures : how many count

    Returns
    -------
    The items that have a picture in the ranking.
    """
    found, places, item, counts = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    counting = np.minimum(sizes[found], pictures)
    seen = np.minimum(counts, counting)
    # The how-manieth of its item each picture is, from 0.
    by_item = np.argsort(item, kind="stable")
    number = np.empty(len(items), np.intp)
    number[by_item] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)

    counts_in = number < counting[item]
    total = np.bincount(item[counts_in], scores[counts_in], minlength=len(found))
    mean = (total + (counting - seen) * scores[-1:]) / counting
    order = np.lexsort((places, mean))
    return ItemOrder(places[order], (seen == counting)[order])
