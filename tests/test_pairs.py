from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

from siamese.catalogue import Catalogue
from siamese.errors import InputError
from siamese.images import square_picture
from siamese.labels import relations
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.pairs import PairGenerator

SIZE = 16


def generator(catalogue, **options):
    return PairGenerator(catalogue, **{"picture_size": SIZE, "batch_size": 20, **options})


def epoch_of(generator):
    return [generator[step] for step in range(len(generator))]


def assert_same(one, other):
    for got, expected in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_batch_of_all_pairs(catalogue):
    pairs = generator(catalogue)
    assert len(pairs) == 3  # 48 pictures in batches of 20
    for step, (pictures, matrix) in enumerate(epoch_of(pairs)):
        assert pictures.shape == (20, SIZE, SIZE, 3) and pictures.dtype == np.float32
        assert pictures.min() >= -1 and pictures.max() == 1 and pictures.min() < -0.5
        shown = [pairs.pictures[row] for row in pairs.draw()[step]]
        expected = relations([p.item_id for p in shown], [p.labels for p in shown])
        for i, one in enumerate(shown):
            for j, other in enumerate(shown):
                if one == other:
                    expected[i, j] = 0
        np.testing.assert_array_equal(matrix, expected)
        assert {-1, 0, 1} == set(matrix.ravel().tolist())
        first = square_picture(catalogue.path_of(shown[0]), SIZE)
        np.testing.assert_allclose(pictures[0], first / 127.5 - 1, atol=1e-6)


def test_the_same_picture_twice_is_no_positive_pair(catalogue):
    matrix = generator(catalogue).relations(np.array([0, 1, 0, 4]))
    # 0 and 1 are of one item; 4 of another with the same label.
    assert matrix.tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_batch_of_random_pairs(catalogue):
    pairs = generator(catalogue, sampling="random-pairs")
    assert len(pairs) == 2
    for step, ((anchors, others), y) in enumerate(epoch_of(pairs)):
        assert anchors.shape == others.shape == (20, SIZE, SIZE, 3)
        assert anchors.dtype == others.dtype == y.dtype == np.float32
        assert y.shape == (20,) and y.mean() == 0.5
        drawn = pairs.draw()
        for place in range(20):
            row = step * 20 + place
            for side, rows in ((anchors, drawn.anchors), (others, drawn.others)):
                square = square_picture(catalogue.path_of(pairs.pictures[rows[row]]), SIZE)
                np.testing.assert_allclose(side[place], square / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_epochs_differ_and_can_be_gone_back_to(catalogue, sampling):
    pairs = generator(catalogue, sampling=sampling, workers=1)
    first = epoch_of(pairs)
    pairs.on_epoch_end()
    second = epoch_of(pairs)
    assert any(
        (one != other).any()
        for one, other in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True)
    )
    resumed = generator(catalogue, sampling=sampling, workers=2)
    resumed.epoch = 1
    assert_same(epoch_of(resumed), second)
    pairs.epoch = 0
    assert_same(epoch_of(pairs), first)


def test_validation_repeats_its_draw(catalogue):
    pairs = generator(catalogue, redraw=False)
    before = epoch_of(pairs)
    pairs.on_epoch_end()
    assert_same(epoch_of(pairs), before)


def test_broken_pictures_are_left_out_and_listed(catalogue, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(catalogue.image_dir, folder)
    (folder / "red-disc-0.png").write_bytes(b"no picture")
    (folder / "blue-disc-3.png").unlink()
    pairs = generator(Catalogue.read(folder / "items.json"))
    assert [(skipped.item_id, skipped.filename, skipped.reason) for skipped in pairs.skipped] == [
        ("red-disc", "red-disc-0.png", "not a picture"),
        ("blue-disc", "blue-disc-3.png", "file missing"),
    ]
    assert len(pairs.pictures) == 46
    shown = {pairs.pictures[row].filename for row in pairs.draw().ravel()}
    assert len(shown) == 46 and not shown & {p.filename for p in pairs.skipped}
    rows = np.arange(46)
    expected = [square_picture(folder / picture.filename, SIZE) for picture in pairs.pictures]
    np.testing.assert_allclose(pairs.prepared(rows), np.stack(expected) / 127.5 - 1, atol=1e-6)


def test_without_a_usable_pair_one_line_says_so(catalogue, tmp_path):
    form = {"a": {"images": [{"filename": "gone1.png"}, {"filename": "gone2.png"}]}}
    path = tmp_path / "items.json"
    path.write_text(json.dumps(form))
    with pytest.raises(InputError, match="no positive pair") as raised:
        generator(Catalogue.read(path))
    assert len(raised.value.lines) == 1


class Witness(PairGenerator):
    """Notes what Keras asks for, and in which epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def __getitem__(self, step):
        self.asked.append((self.epoch, step))
        return super().__getitem__(step)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_fit_takes_every_batch_of_every_epoch_once(catalogue, sampling, workers):
    pairs = Witness(catalogue, picture_size=SIZE, batch_size=16, sampling=sampling, workers=workers)
    inputs = keras.Input((SIZE, SIZE, 3))
    vectors = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(vectors))
    loss = MultiSimilarityLoss()
    if sampling == "random-pairs":
        from siamese.networks import siamese_network

        model, loss = siamese_network(model), ContrastiveLoss()
    model.compile("adam", loss)
    history = model.fit(pairs, epochs=3, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    # Keras looks at the first batches for their shapes and ends that epoch before it begins.
    every = [(epoch, step) for epoch in (1, 2, 3) for step in range(3)]
    assert sorted(pairs.asked[2:]) == every
