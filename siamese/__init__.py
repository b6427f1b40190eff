"""Train image-similarity models with Keras, index pictures with them and search by picture.

>>> import siamese
>>> catalogue = siamese.Catalogue.read("items.json", image_dir="photos")
>>> embedder = siamese.Embedder.load("checkpoints/final_model.hdf5")
>>> index = siamese.open_index("search_index.pkl")
>>> results = siamese.Searcher(embedder, index).search(["query.jpg"], k=10)

Names are imported when they are first used: `import siamese` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from siamese.version import __version__ as __version__

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue as Catalogue
    from siamese.embedding.embedder import Embedder as Embedder
    from siamese.errors import InputError as InputError
    from siamese.evaluation.evaluate import evaluate as evaluate
    from siamese.evaluation.metrics import retrieval_metrics as retrieval_metrics
    from siamese.indexes import open_index as open_index
    from siamese.losses import BatchContrastiveLoss as BatchContrastiveLoss
    from siamese.losses import CircleLoss as CircleLoss
    from siamese.losses import ContrastiveLoss as ContrastiveLoss
    from siamese.losses import CosFaceLoss as CosFaceLoss
    from siamese.losses import MultiSimilarityLoss as MultiSimilarityLoss
    from siamese.losses import ProxyAnchorLoss as ProxyAnchorLoss
    from siamese.losses import SupervisedContrastiveLoss as SupervisedContrastiveLoss
    from siamese.losses import TripletLoss as TripletLoss
    from siamese.models.backbones import base_cnn as base_cnn
    from siamese.models.embedding_model import embedding_model as embedding_model
    from siamese.models.embedding_model import siamese_network as siamese_network
    from siamese.search.searcher import Searcher as Searcher
    from siamese.training.pair_generator import PairGenerator as PairGenerator
    from siamese.training.recipe import Recipe as Recipe
    from siamese.training.train import train as train

_HOMES = {
    "BatchContrastiveLoss": "siamese.losses",
    "Catalogue": "siamese.data.catalogue",
    "CircleLoss": "siamese.losses",
    "ContrastiveLoss": "siamese.losses",
    "CosFaceLoss": "siamese.losses",
    "Embedder": "siamese.embedding.embedder",
    "InputError": "siamese.errors",
    "MultiSimilarityLoss": "siamese.losses",
    "PairGenerator": "siamese.training.pair_generator",
    "ProxyAnchorLoss": "siamese.losses",
    "Recipe": "siamese.training.recipe",
    "Searcher": "siamese.search.searcher",
    "SupervisedContrastiveLoss": "siamese.losses",
    "TripletLoss": "siamese.losses",
    "base_cnn": "siamese.models.embedding_model",
    "embedding_model": "siamese.models.embedding_model",
    "evaluate": "siamese.evaluation.evaluate",
    "open_index": "siamese.indexes",
    "retrieval_metrics": "siamese.evaluation.metrics",
    "siamese_network": "siamese.models.embedding_model",
    "train": "siamese.training.train",
}

_ON_KERAS = {
    "siamese.losses",
    "siamese.models.embedding_model",
    "siamese.training.pair_generator",
    "siamese.training.train",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'siamese' has no attribute {name!r}")
    if _HOMES[name] in _ON_KERAS:
        import_module("siamese.utils.keras_import").import_keras()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
