from __future__ import annotations

import numpy as np
import pytest

from siamese.embedding.parity import min_cosine
from siamese.errors import InputError
from siamese.evaluation.metrics import measure_retrieval
from siamese.models.embedding_model import PROJECTION
from siamese.training.features import FrozenFeatures, embed_pictures
from siamese.training.linear_head import SHRINKAGE, linear_discriminants, train_head
from siamese.training.pair_generator import PairGenerator
from tests.training.conftest import small_model


def clustered(counts, features, seed=0):
    """Items of so many pictures each, off the origin, with a spread of their own."""
    rng = np.random.default_rng(seed)
    items = [f"item {item}" for item, count in enumerate(counts) for _ in range(count)]
    centres = rng.normal(size=(len(counts), features)) + 3
    stretched = rng.normal(size=(len(items), features)) * rng.uniform(0.1, 2, features)
    rows = np.concatenate([[centre] * count for centre, count in zip(centres, counts, strict=True)])
    order = rng.permutation(len(items))
    return (rows + stretched)[order].astype(np.float32), [items[row] for row in order]


def naive_discriminants(features, items, size):
    """The discriminants y of each row, up to the sign of each direction."""
    rows = [row.astype(float) for row in features]
    width = len(rows[0])
    mean = sum(rows) / len(rows)
    of_item = {item: [] for item in items}
    for row, item in zip(rows, items, strict=True):
        of_item[item].append(row)
    within = np.zeros((width, width))
    for of_one in of_item.values():
        own = sum(of_one) / len(of_one)
        covariance = np.zeros((width, width))
        for row in of_one:
            covariance += np.outer(row - own, row - own)
        within += covariance / len(of_one) / len(of_item)
    shrunk = within + SHRINKAGE * np.trace(within) / width * np.eye(width)
    values, vectors = np.linalg.eigh(shrunk)
    whitening = sum(
        np.outer(vector, vector) / np.sqrt(value)
        for value, vector in zip(values, vectors.T, strict=True)
    )
    between = np.zeros((width, width))
    for of_one in of_item.values():
        own = whitening @ (sum(of_one) / len(of_one) - mean)
        between += np.outer(own, own)
    values, vectors = np.linalg.eigh(between)
    largest = sorted(range(width), key=lambda place: -values[place])[:size]
    answer = []
    for row in rows:
        white = whitening @ (row - mean)
        answer.append([white @ vectors[:, place] for place in largest])
    answer = np.array(answer)
    return answer / (sum(np.sqrt(sum(y**2)) for y in answer) / len(answer))


@pytest.mark.parametrize("counts", [[4] * 6, [2, 9, 3, 1, 5, 2, 7]])
@pytest.mark.parametrize("size", [2, 5])
def test_discriminants_equal_a_naive_implementation(counts, size):
    features, items = clustered(counts, 9)
    weights, bias = linear_discriminants(features, items, size)
    assert weights.shape == (9, size) and bias.shape == (size,)
    assert weights.dtype == bias.dtype == np.float32
    got = features @ weights + bias
    expected = naive_discriminants(features, items, size)
    # The sign of a direction is arbitrary.
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=2e-4)


def test_more_directions_than_features_stay_0():
    features, items = clustered([4] * 8, 5)
    weights, bias = linear_discriminants(features, items, 7)
    assert weights.shape == (5, 7) and not weights[:, 5:].any() and not bias[5:].any()
    assert weights[:, :5].any(axis=0).all()
    got, expected = features @ weights + bias, naive_discriminants(features, items, 5)
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=2e-4)


@pytest.mark.parametrize("size", [1, 4, 12])
def test_discriminants_have_mean_0_and_a_mean_length_of_1(size):
    features, items = clustered([2, 9, 3, 1, 5, 2, 7], 9, seed=1)
    weights, bias = linear_discriminants(features, items, size)
    got = features @ weights + bias
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(got, axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_items_are_separated_despite_a_strong_useless_feature():
    rng = np.random.default_rng(2)
    items = np.repeat(np.arange(10), 6)
    telling = rng.normal(size=(10, 2))[items] + rng.normal(size=(60, 2)) * 0.05
    features = np.hstack([telling, rng.normal(size=(60, 3)) * 1.5]).astype(np.float32)
    weights, bias = linear_discriminants(features, items, 2)
    before = measure_retrieval(_of_length_1(features - features.mean(axis=0)), items)
    after = measure_retrieval(_of_length_1(features @ weights + bias), items)
    assert _map_at_r(after) > 2 * _map_at_r(before)


def test_one_picture_per_item_and_constant_features_do_no_harm():
    features, _ = clustered([1] * 6, 4)
    features[:, 2] = 5
    weights, bias = linear_discriminants(features, list("abcdef"), 3)
    assert np.isfinite(weights).all() and np.isfinite(bias).all()
    assert np.linalg.norm(features @ weights + bias, axis=1).mean() == pytest.approx(1, abs=1e-3)


def _of_length_1(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _map_at_r(found):
    return found.mean_metrics()["map@r"]


@pytest.fixture(scope="module")
def pairs(catalogue):
    return PairGenerator(catalogue, picture_size=16, batch_size=16)


@pytest.mark.slow
def test_a_head_is_trained_from_the_discriminants_and_nothing_else(pairs):
    # Few dimensions: with more, 48 pictures are told apart at once and the loss is 0.
    model = small_model(features=256, embedding_size=3)
    items = [picture.item_id for picture in pairs.pictures]
    pictures = pairs.prepared(np.arange(48))
    projection = model.get_layer(PROJECTION)
    kernel = projection.kernel.numpy()

    vectors = embed_pictures(model, pairs)
    assert vectors.shape == (48, 3) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.asarray(model(pictures)), atol=1e-5)
    frozen = FrozenFeatures(model)
    features = frozen.compute(pairs)
    assert features.shape == (48, 256) and features.dtype == np.float32
    assert min_cosine(_of_length_1(features @ kernel), vectors) > 0.999

    before = {id(one): one.numpy() for one in model.variables}
    losses = train_head(model, pairs, features, seed=1)
    assert len(losses) == 3 and 0 < min(losses) < max(losses) < 10
    learned = {id(one) for one in projection.variables}
    for one in model.variables:
        assert (one.numpy() != before[id(one)]).any() == (id(one) in learned), one.path
    weights, _ = linear_discriminants(features, items, 3)
    moved = np.abs(projection.kernel.numpy() - weights).max()
    assert 1e-4 < moved < 0.1 * np.abs(weights).max()

    start = _map_at_r(measure_retrieval(vectors, items))
    end = _map_at_r(measure_retrieval(np.asarray(model(pictures)), items))
    assert (
        end > start + 0.1
        and end > _map_at_r(measure_retrieval(_of_length_1(features), items)) + 0.1
    )


def test_equal_features_are_refused():
    with pytest.raises(InputError, match="all pictures are equal"):
        linear_discriminants(np.full((6, 4), 0.3, np.float32), list("aabbcc"), 2)
