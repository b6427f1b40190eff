from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from siamese.embedding.embed_catalogue import Embeddings
from siamese.reports import draw_embedding_map
from siamese.reports import embedding_map as module
from siamese.reports.canvas import Canvas

pytestmark = pytest.mark.slow


@pytest.fixture
def placed(monkeypatch):
    """Record the file name, place and size of each picture that is drawn."""
    drawn = []
    real = Canvas.draw_tile

    def noted(self, source, at, *arguments, **options):
        drawn.append((source.name, at, options["size"]))
        real(self, source, at, *arguments, **options)

    monkeypatch.setattr(Canvas, "draw_tile", noted)
    return drawn


@pytest.fixture
def pca_layout(monkeypatch):
    """Use PCA, which is faster, for tests that do not depend on the layout."""
    monkeypatch.setattr(module, "MAX_PCA_PICTURES", 1000)


@pytest.mark.usefixtures("pca_layout")
def test_no_picture_covers_another(before, catalogue, placed):
    picture = draw_embedding_map(before, catalogue, size=300, thumbnails=60)
    assert picture.size == (600, 600)
    assert 24 < len(placed) <= 48
    places = np.array([at for _, at, _ in placed])
    (size,) = {size for _, _, size in placed}
    gaps = np.abs(places[:, None] - places).max(axis=2)
    np.fill_diagonal(gaps, 300)
    assert gaps.min() >= size
    assert places.min() >= 0 and places.max() + size <= 300


def test_similar_pictures_lie_together(after, catalogue, placed):
    """Pictures of an item, with nearly equal vectors, are nearer than others."""
    draw_embedding_map(after, catalogue, size=1100, thumbnails=100)
    item_of = {catalogue.path_of(p).name: p.item_id for p in catalogue.pictures}
    places = np.array([at for _, at, _ in placed])
    items = np.array([item_of[name] for name, _, _ in placed])
    distance = np.linalg.norm(places[:, None] - places, axis=2)
    same = items[:, None] == items
    np.fill_diagonal(same, False)
    assert same.any()
    assert distance[same].mean() < distance[items[:, None] != items].mean() / 2


def test_seed_changes_the_map(before, catalogue):
    few = Embeddings(before.pictures[:16], before.vectors[:16], [])
    one, again, other = (
        np.asarray(draw_embedding_map(few, catalogue, size=200, seed=seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.usefixtures("pca_layout")
def test_number_of_pictures_is_limited(before, catalogue, placed, monkeypatch):
    many = Embeddings(before.pictures * 4, np.vstack([before.vectors] * 4), [])
    draw_embedding_map(many, catalogue, size=900, thumbnails=30)
    assert len(placed) == 30
    placed.clear()
    monkeypatch.setattr(module, "MAX_PICTURES", 15)
    draw_embedding_map(before, catalogue, size=900, thumbnails=400)
    assert len(placed) == 15


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_few_pictures(before, catalogue, placed, count):
    few = Embeddings(before.pictures[:count], before.vectors[:count], [])
    draw_embedding_map(few, catalogue, size=1100, thumbnails=50)
    assert len(placed) == count


def test_deleted_file_leaves_a_grey_tile(before, catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(type(catalogue), "path_of", lambda self, picture: tmp_path / "gone.png")
    one = Embeddings(before.pictures[:1], before.vectors[:1], [])
    picture = draw_embedding_map(one, catalogue, size=300, thumbnails=4)
    assert isinstance(picture, Image.Image)
    assert (np.asarray(picture) == (229, 231, 235)).all(axis=2).any()
