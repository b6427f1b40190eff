"""Repair of batches that lack positive or negative pairs, by swapping rows with other batches.

Such batches are rare, unless item sizes are very unequal (one item with 500 pictures, three with
2) or nearly all items have the same label.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

PROBES = 16
"""Number of pairs per batch to check for a negative pair before checking all of them."""
MAX_CHOICES = 8
"""Maximum number of offers to try per giver, and of sets of rows to return per offer."""
MAX_ROUNDS = 8
"""Number of times to try all givers again after none was able to help."""


def repair_batches(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Swap rows between batches so that each has a positive and a negative pair, where possible.

    A batch without a negative pair receives one row from another batch (the giver), and a batch
    without a positive pair one or two. The giver gets as many rows back. No swap may remove
    the last positive or negative pair of either batch.

    Parameters
    ----------
    batches : int ndarray of shape (steps, batch_size)
        Rows.
    items : ItemIndex
        Items and labels of the rows.

    Returns
    -------
    int ndarray of shape (steps, batch_size)
        The same rows, rearranged.
    """
    batches = batches.copy()
    for has_kind, find_offers in ((_has_negative, _strangers), (_has_positive, _siblings)):
        has = has_kind(batches, items)
        # Batches that also lack this kind of pair come last; two of them may fix each other.
        order = np.argsort(~has, kind="stable").tolist()
        givers, rounds = deque(order), MAX_ROUNDS
        for batch in np.flatnonzero(~has).tolist():
            if not givers and rounds:
                givers, rounds = deque(order), rounds - 1
            # Drop a giver that cannot help, also for the batches that follow: it rarely could help
            # them, and trying all givers for each batch would take very long.
            while givers and not has_kind(batches[[batch]], items)[0]:
                giver = givers.popleft()
                offers = find_offers(batches[giver], batches[batch], items)
                if giver != batch and _swap(batches, giver, batch, offers, items):
                    givers.append(giver)
    return batches


def _swap(
    batches: np.ndarray, giver: int, receiver: int, offers: list[list[int]], items: ItemIndex
) -> bool:
    """Make, in place, the first swap that adds a kind of pair to the receiver and removes none.

    Parameters
    ----------
    batches : int ndarray of shape (steps, batch_size)
        Rows.
    giver, receiver : int
        Indices of two batches.
    offers : list of lists of int
        Sets of the giver's columns to try to move to the receiver.
    items : ItemIndex
        Items and labels of the rows.

    Returns
    -------
    bool
        Whether a swap was made.
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
    """Return one giver column for each item that has a negative in the receiver."""
    giver_items, columns = np.unique(items.item_of_row[giver], return_index=True)
    receiver_items = np.unique(items.item_of_row[receiver])
    has_negative = items.rule.negative_matrix(giver_items, receiver_items).any(axis=1)
    return [[column] for column in columns[has_negative].tolist()]


def _siblings(giver: np.ndarray, receiver: np.ndarray, items: ItemIndex) -> list[list[int]]:
    """Return giver columns whose item is in the receiver, then pairs of columns of one item."""
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
    """Return sets of `count` columns to give back, those of the most frequent items first."""
    _, inverse, counts = np.unique(
        items.item_of_row[batch], return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts[inverse], kind="stable").tolist()
    starts = np.unique(np.linspace(0, len(batch) - count, MAX_CHOICES).astype(int))
    return [order[start : start + count] for start in starts.tolist()]


def _pair_kinds(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return bool (steps, 2): whether each batch has a positive pair, and a negative pair."""
    return np.stack([_has_positive(batches, items), _has_negative(batches, items)], axis=1)


def _has_positive(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return bool (steps,): whether each batch has two different rows of the same item."""
    order = np.lexsort((batches, items.item_of_row[batches]))
    rows = np.take_along_axis(batches, order, axis=1)
    same_item = np.diff(items.item_of_row[rows], axis=1) == 0
    return (same_item & (np.diff(rows, axis=1) != 0)).any(axis=1)


def _has_negative(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Return bool (steps,): whether each batch has two rows that form a negative pair."""
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
