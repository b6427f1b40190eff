"""Swap rows between batches that hold only one kind of pairs.

Such batches are rare, unless items are very unequal (one has 500 pictures, three have 2) or
nearly every item has the same label.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

PROBES = 16
"""Pairs of a batch to check for a negative one before all pairs are checked."""
MAX_CHOICES = 8
"""Offers of a batch to try, and as many sets of rows to give back for each."""
MAX_ROUNDS = 8
"""Times that all batches are asked again after all have refused."""


def repair_batches(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Swap rows between batches until each holds a positive and a negative pair, if possible.

    A batch without a positive pair receives one row or two that make a positive pair; a batch
    without a negative pair receives a row that makes a negative pair. It gives as many rows back,
    and neither batch may lose a kind of pair. Other batches stay unchanged.

    Parameters
    ----------
    batches : int ndarray of shape (steps, batch_size)
        Rows.
    items : ItemIndex
        Items and labels of the rows.

    Returns
    -------
    int ndarray of shape (steps, batch_size)
        The same rows.
    """
    batches = batches.copy()
    for has_kind, find_offers in ((_has_negative, _strangers), (_has_positive, _siblings)):
        has = has_kind(batches, items)
        # Batches that lack the kind themselves come last: two of them may help each other.
        order = np.argsort(~has, kind="stable").tolist()
        givers, rounds = deque(order), MAX_ROUNDS
        for batch in np.flatnonzero(~has).tolist():
            if not givers and rounds:
                givers, rounds = deque(order), rounds - 1
            # A giver that fails is not tried for the next batch either: it nearly always has
            # nothing to give, and trying all givers for each batch would take very long.
            while givers and not has_kind(batches[[batch]], items)[0]:
                giver = givers.popleft()
                offers = find_offers(batches[giver], batches[batch], items)
                if giver != batch and _swap(batches, giver, batch, offers, items):
                    givers.append(giver)
    return batches


def _swap(
    batches: np.ndarray, giver: int, receiver: int, offers: list[list[int]], items: ItemIndex
) -> bool:
    """Make the first swap, in place, that takes no kind of pair away and gives the receiver one.

    Parameters
    ----------
    batches : int ndarray of shape (steps, batch_size)
        Rows.
    giver, receiver : int
        Two batches.
    offers : list of lists of int
        Columns of the giver.
    items : ItemIndex
        Items and labels of the rows.

    Returns
    -------
    bool
        Whether there was such a swap.
    """
    before = batches[[giver, receiver]]
    kinds_before = _pair_kinds(before, items)
    for offer in offers[:MAX_CHOICES]:
        for back in _expendable(before[1], len(offer), items):
            after = before.copy()
            after[0, offer], after[1, back] = before[1, back], before[0, offer]
            kinds = _pair_kinds(after, items)
            if (kinds >= kinds_before).all() and (kinds[1] > kinds_before[1]).any():
                batches[[giver, receiver]] = after
                return True
    return False


def _strangers(giver: np.ndarray, receiver: np.ndarray, items: ItemIndex) -> list[list[int]]:
    """Return columns of the giver with a negative in the receiver, one per item."""
    giver_items, columns = np.unique(items.item_of_row[giver], return_index=True)
    receiver_items = np.unique(items.item_of_row[receiver])
    has_negative = items.rule.negative_matrix(giver_items, receiver_items).any(axis=1)
    return [[column] for column in columns[has_negative].tolist()]


def _siblings(giver: np.ndarray, receiver: np.ndarray, items: ItemIndex) -> list[list[int]]:
    """Return columns of the giver with a sibling in the receiver, then pairs of siblings."""
    has_sibling = np.isin(items.item_of_row[giver], items.item_of_row[receiver])
    single = np.flatnonzero(has_sibling & ~np.isin(giver, receiver))
    rows, columns = np.unique(giver, return_index=True)
    columns = columns[np.argsort(items.item_of_row[rows], kind="stable")]
    _, starts, counts = np.unique(
        items.item_of_row[giver[columns]], return_index=True, return_counts=True
    )
    pairs = [columns[start : start + 2].tolist() for start in starts[counts > 1]]
    return [[column] for column in single.tolist()] + pairs


def _expendable(batch: np.ndarray, count: int, items: ItemIndex) -> list[list[int]]:
    """Return sets of columns to give back, of the most frequent items first."""
    _, inverse, counts = np.unique(
        items.item_of_row[batch], return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts[inverse], kind="stable").tolist()
    starts = np.unique(np.linspace(0, len(batch) - count, MAX_CHOICES).astype(int))
    return [order[start : start + count] for start in starts.tolist()]


def _pair_kinds(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return whether each batch has a positive, and a negative pair: bool (steps, 2)."""
    return np.stack([_has_positive(batches, items), _has_negative(batches, items)], axis=1)


def _has_positive(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return whether each batch has two rows of one item: bool (steps,)."""
    order = np.lexsort((batches, items.item_of_row[batches]))
    rows = np.take_along_axis(batches, order, axis=1)
    same_item = np.diff(items.item_of_row[rows], axis=1) == 0
    return (same_item & (np.diff(rows, axis=1) != 0)).any(axis=1)


def _has_negative(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return whether each batch has two rows that make a negative pair: bool (steps,)."""
    steps, size = batches.shape
    columns = np.linspace(0, size - 1, min(size, PROBES)).astype(int)
    batch_items = items.item_of_row[batches]
    first, second = batch_items[:, columns], batch_items[:, (columns + size // 2) % size]
    negative = items.rule.are_negatives(first.ravel(), second.ravel())
    has = np.asarray(negative.reshape(steps, -1).any(axis=1))
    for batch in np.flatnonzero(~has):
        different = np.unique(batch_items[batch])
        has[batch] = items.rule.negative_matrix(different, different).any()
    return has
