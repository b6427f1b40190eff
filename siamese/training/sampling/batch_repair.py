"""Batches that all pairs are of one kind in, mended by swaps with others.

Chance makes few of them, but very unequal items (one has 500 pictures, three have 2) or labels
that nearly every item has do.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

PROBES = 16
"""Pairs of a batch that are looked at for a negative one before all are."""
CHOICES = 8
"""What is tried at most of what a batch could give, and as many of what it could get for it."""
ROUNDS = 8
"""How often all batches are asked again after all have refused: each, in an epoch of few."""


def repair_batches(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Swap rows between batches until each holds a positive and a negative pair, if it can be.

    A batch without a positive pair receives a row that makes one or both rows of one, a batch
    without a negative pair a row that makes one; it gives as many rows back, and neither batch may
    lose a kind of pair by that. Batches that hold both kinds are left as they are unless they give.

    Parameters
    ----------
    batches : int (steps, batch_size), rows

    Returns
    -------
    int (steps, batch_size), the same rows
    """
    batches = batches.copy()
    for has_kind, gifts in ((_has_negative, _strangers), (_has_positive, _siblings)):
        has = has_kind(batches, items)
        # Those that lack the kind themselves come last: two such may help each other.
        order = np.argsort(~has, kind="stable").tolist()
        givers, rounds = deque(order), ROUNDS
        for batch in np.flatnonzero(~has).tolist():
            if not givers and rounds:
                givers, rounds = deque(order), rounds - 1
            # One that cannot give to this batch is not asked for the next: it is nearly always
            # for want of something to give, and asking all for each would take forever.
            while givers and not has_kind(batches[[batch]], items)[0]:
                giver = givers.popleft()
                offered = gifts(batches[giver], batches[batch], items)
                if giver != batch and _give(batches, giver, batch, offered, items):
                    givers.append(giver)
    return batches


def _give(
    batches: np.ndarray, giver: int, receiver: int, gifts: list[list[int]], items: ItemIndex
) -> bool:
    """Swap the first gift that leaves neither batch with fewer kinds, and the receiver with more.

    Parameters
    ----------
    gifts : places in the giving batch
    """
    both = batches[[giver, receiver]]
    before = _kinds(both, items)
    for gift in gifts[:CHOICES]:
        for back in _expendable(both[1], len(gift), items):
            after = both.copy()
            after[0, gift], after[1, back] = both[1, back], both[0, gift]
            kinds = _kinds(after, items)
            if (kinds >= before).all() and (kinds[1] > before[1]).any():
                batches[[giver, receiver]] = after
                return True
    return False


def _strangers(giver: np.ndarray, receiver: np.ndarray, items: ItemIndex) -> list[list[int]]:
    """Places of rows in the giving batch that make a negative pair in the other: one an item."""
    of_giver, places = np.unique(items.of_row[giver], return_index=True)
    of_receiver = np.unique(items.of_row[receiver])
    fits = items.rule.negative_matrix(of_giver, of_receiver).any(axis=1)
    return [[place] for place in places[fits].tolist()]


def _siblings(giver: np.ndarray, receiver: np.ndarray, items: ItemIndex) -> list[list[int]]:
    """Places of a row in the giving batch that has a sibling in the other, or of two siblings."""
    single = np.isin(items.of_row[giver], items.of_row[receiver]) & ~np.isin(giver, receiver)
    rows, places = np.unique(giver, return_index=True)
    places = places[np.argsort(items.of_row[rows], kind="stable")]
    _, starts, counts = np.unique(
        items.of_row[giver[places]], return_index=True, return_counts=True
    )
    pairs = [places[start : start + 2].tolist() for start in starts[counts > 1]]
    return [[place] for place in np.flatnonzero(single).tolist()] + pairs


def _expendable(batch: np.ndarray, count: int, items: ItemIndex) -> list[list[int]]:
    """Places of a batch to give back: from those of its commonest items to those of its rarest."""
    _, inverse, counts = np.unique(items.of_row[batch], return_inverse=True, return_counts=True)
    order = np.argsort(-counts[inverse], kind="stable").tolist()
    starts = np.unique(np.linspace(0, len(batch) - count, CHOICES).astype(int))
    return [order[start : start + count] for start in starts.tolist()]


def _kinds(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    return np.stack([_has_positive(batches, items), _has_negative(batches, items)], axis=1)


def _has_positive(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Which batches hold two rows of one item: bool (steps,)."""
    order = np.lexsort((batches, items.of_row[batches]))
    rows = np.take_along_axis(batches, order, axis=1)
    same_item = np.diff(items.of_row[rows], axis=1) == 0
    return (same_item & (np.diff(rows, axis=1) != 0)).any(axis=1)


def _has_negative(batches: np.ndarray, items: ItemIndex) -> np.ndarray:
    """Which batches hold two rows that make a negative pair: bool (steps,)."""
    steps, size = batches.shape
    places = np.linspace(0, size - 1, min(size, PROBES)).astype(int)
    probes = items.of_row[batches]
    one, other = probes[:, places], probes[:, (places + size // 2) % size]
    found = items.rule.are_negatives(one.ravel(), other.ravel())
    has = np.asarray(found.reshape(steps, -1).any(axis=1))
    for batch in np.flatnonzero(~has):
        different = np.unique(probes[batch])
        has[batch] = items.rule.negative_matrix(different, different).any()
    return has
