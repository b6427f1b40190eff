"""Image-similarity models: training with Keras, indexing, and search by picture.

Each name is imported on first use, so that `import siamese` is fast.

Examples
--------
>>> import siamese
>>> embedder = siamese.Embedder.load("checkpoints/final_model.hdf5")  # doctest: +SKIP
>>> index = siamese.open_index("search_index.pkl")  # doctest: +SKIP
>>> siamese.Searcher(embedder, index).search(["query.jpg"], k=10)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from siamese.version import __version__ as __version__

# These imports are only for type checkers and editors; at run time, `__getattr__` imports lazily.
if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue as Catalogue
    from siamese.embedding.embed_catalogue import embed_catalogue as embed_catalogue
    from siamese.embedding.embedder import Embedder as Embedder
    from siamese.errors import InputError as InputError
    from siamese.evaluation.evaluate import evaluate as evaluate
    from siamese.evaluation.metrics import retrieval_metrics as retrieval_metrics
    from siamese.indexes import open_index as open_index
    from siamese.losses import ContrastiveLoss as ContrastiveLoss
    from siamese.losses import MultiSimilarityLoss as MultiSimilarityLoss
    from siamese.losses import TripletLoss as TripletLoss
    from siamese.models.backbones import base_cnn as base_cnn
    from siamese.models.embedding_model import embedding_model as embedding_model
    from siamese.models.embedding_model import siamese_network as siamese_network
    from siamese.search.searcher import Searcher as Searcher
    from siamese.training.pair_generator import PairGenerator as PairGenerator
    from siamese.training.recipe import Recipe as Recipe
    from siamese.training.train import train as train

_HOMES = {
    "Catalogue": "siamese.data.catalogue",
    "embed_catalogue": "siamese.embedding.embed_catalogue",
    "Embedder": "siamese.embedding.embedder",
    "InputError": "siamese.errors",
    "evaluate": "siamese.evaluation.evaluate",
    "retrieval_metrics": "siamese.evaluation.metrics",
    "open_index": "siamese.indexes",
    "ContrastiveLoss": "siamese.losses",
    "MultiSimilarityLoss": "siamese.losses",
    "TripletLoss": "siamese.losses",
    "base_cnn": "siamese.models.backbones",
    "embedding_model": "siamese.models.embedding_model",
    "siamese_network": "siamese.models.embedding_model",
    "Searcher": "siamese.search.searcher",
    "PairGenerator": "siamese.training.pair_generator",
    "Recipe": "siamese.training.recipe",
    "train": "siamese.training.train",
}

_KERAS_MODULES = {
    "siamese.losses",
    "siamese.models.backbones",
    "siamese.models.embedding_model",
    "siamese.training.pair_generator",
    "siamese.training.train",
}
"""Modules that import Keras; calling `import_keras` first suppresses TensorFlow's log output."""

_REMOVED = {
    "BatchContrastiveLoss",
    "CircleLoss",
    "CosFaceLoss",
    "ProxyAnchorLoss",
    "SupervisedContrastiveLoss",
}
"""Losses that have been removed; docs/recipe.md gives their results."""

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _REMOVED:
        raise AttributeError(
            f"siamese.{name} was removed in this version, because it never did better than "
            "MultiSimilarityLoss; see docs/recipe.md"
        )
    if name not in _HOMES:
        raise AttributeError(f"module 'siamese' has no attribute {name!r}")
    module = _HOMES[name]
    if module in _KERAS_MODULES:
        import_module("siamese.utils.keras_import").import_keras()
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
