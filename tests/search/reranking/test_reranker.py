from __future__ import annotations

import numpy as np
import pytest

from siamese.cli.main import cli
from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.models.facts import ModelFacts
from siamese.search.reranking.reranker import (
    RERANKERS,
    Expansion,
    Nearest,
    Reciprocal,
    get_reranker,
)


def test_get_reranker_takes_a_name_or_a_reranker():
    assert isinstance(get_reranker(None), Nearest)
    assert isinstance(get_reranker("none"), Nearest)
    assert get_reranker("expansion") == Expansion() and get_reranker("reciprocal") == Reciprocal()
    own = Expansion(neighbours=7)
    assert get_reranker(own) is own
    with pytest.raises(
        InputError, match="rerank is 'best'; choose one of none, expansion, reciprocal"
    ):
        get_reranker("best")


def test_the_command_line_offers_all_rerankers():
    (option,) = [option for option in cli.commands["search"].params if option.name == "rerank"]
    assert list(option.type.choices) == list(RERANKERS)


@pytest.mark.parametrize("name", RERANKERS)
def test_rerankers_return_each_picture_once_and_rank_each_query_alone(name):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(150, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    facts = ModelFacts("", "", 6, 1, None)
    index = BallTreeIndex.build(
        vectors[:140], [{"item_id": "", "filename": "", "labels": []}] * 140, facts
    )
    scores, rows = get_reranker(name).rank(index, vectors[140:].astype(np.float32), 1000)
    assert scores.shape == rows.shape == (10, 140)
    assert (np.sort(rows, axis=1) == np.arange(140)).all()
    assert (np.diff(scores, axis=1) >= -1e-12).all()
    for place in range(10):
        one = get_reranker(name).rank(
            index, vectors[140 + place : 141 + place].astype(np.float32), 8
        )
        np.testing.assert_array_equal(one[1][0], rows[place, :8])
