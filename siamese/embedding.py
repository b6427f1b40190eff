"""From pictures to vectors: a checkpoint or the pretrained default, fed by decoding threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from siamese.catalogue import Catalogue, Picture
from siamese.errors import InputError
from siamese.images import PictureError, scaled, square_picture

if TYPE_CHECKING:
    import keras
    from PIL import Image

    Source = str | os.PathLike[str] | bytes | Image.Image

BATCH_SIZE = 32


@dataclass(frozen=True)
class ModelFacts:
    """What an index records of the model that made it.

    Attributes
    ----------
    name : the backbone's, or the checkpoint's file name
    fingerprint : see `siamese.fingerprint`
    embedding_size : d
    picture_size : pixels of a side
    path : the checkpoint, or None for a pretrained model
    """

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be used, and why."""

    item_id: str
    filename: str
    reason: str


@dataclass(frozen=True)
class Embeddings:
    """A catalogue as vectors: `vectors[i]`, float32 (d,) of length 1, is `pictures[i]`."""

    pictures: list[Picture]
    vectors: np.ndarray
    skipped: list[Skipped]


class Embedder:
    """A model that turns pictures into vectors of length 1.

    >>> embedder = Embedder.load("checkpoints/final_model.hdf5")   # or Embedder.pretrained()
    >>> embedder.embed(["a.jpg", "b.jpg"]).shape
    (2, 1280)

    Attributes
    ----------
    model : float32 (n, s, s, 3), RGB in [-1, 1] → float32 (n, d), length 1
    facts : `ModelFacts`
    """

    def __init__(self, model: keras.Model, name: str, path: Path | None = None) -> None:
        from siamese.fingerprint import fingerprint

        self.model = model
        self.facts = ModelFacts(
            name=name,
            fingerprint=fingerprint(model),
            embedding_size=model.output_shape[1],
            picture_size=model.input_shape[1],
            path=None if path is None else str(path.resolve()),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Embedder:
        """Load a checkpoint: a siamese network, or a model of one picture and one vector.

        Raises
        ------
        InputError
            Missing, damaged, or no such model.
        """
        from siamese.checkpoints import load_model
        from siamese.networks import inner_embedding_model

        path = Path(path)
        return cls(inner_embedding_model(load_model(path), path), path.name, path)

    @classmethod
    def pretrained(
        cls,
        backbone: str | None = None,
        picture_size: int | None = None,
        weights: str = "imagenet",
    ) -> Embedder:
        """A backbone as ImageNet left it; EfficientNet-Lite0 at 224 pixels unless told otherwise.

        Raises
        ------
        InputError
            Unknown backbone, one that knows nothing yet, or weights that cannot be had.
        """
        from siamese.networks import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, embedding_model

        backbone = backbone or DEFAULT_BACKBONE
        if backbone == "base_cnn":
            raise InputError("--backbone base_cnn: is not pretrained; train it, then --keras-model")
        model = embedding_model(backbone, picture_size or DEFAULT_PICTURE_SIZE, weights=weights)
        return cls(model, backbone)

    def embed(self, sources: Sequence[Source], *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Embed pictures.

        Parameters
        ----------
        sources : files, encoded bytes or PIL pictures

        Returns
        -------
        float32 (n, d), length 1

        Raises
        ------
        InputError
            Naming every source that is no usable picture.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError("embed takes a list of pictures; put the one into a list")
        vectors, broken = self._embed(sources, batch_size, None)
        if broken:
            raise InputError(f"{_name(sources[row])}: {why}" for row, why in broken.items())
        return vectors

    def embed_catalogue(self, catalogue: Catalogue, *, batch_size: int = BATCH_SIZE) -> Embeddings:
        """Embed every picture of a catalogue, with progress; broken ones are skipped and listed."""
        pictures = catalogue.pictures
        paths = [catalogue.path_of(picture) for picture in pictures]
        vectors, broken = self._embed(paths, batch_size, "embedding")
        return Embeddings(
            [picture for row, picture in enumerate(pictures) if row not in broken],
            vectors,
            [
                Skipped(pictures[row].item_id, pictures[row].filename, reason)
                for row, reason in broken.items()
            ],
        )

    def _embed(
        self, sources: Sequence[Source], batch_size: int, progress: str | None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """The vectors of the usable sources, in order, and why the others are not."""
        size = self.facts.picture_size
        batch_size = min(batch_size, len(sources))
        vectors = np.empty((len(sources), self.facts.embedding_size), np.float32)
        broken: dict[int, str] = {}
        # Always a whole batch, the last one filled up with what is left over: another shape
        # would have the model compiled anew.
        batch = np.zeros((batch_size, size, size, 3), np.float32)
        done = filled = 0
        bar = tqdm(total=len(sources), desc=progress, unit=" pictures", disable=progress is None)
        with bar:
            for row, square in enumerate(_prepared(sources, size, ahead=2 * batch_size)):
                if isinstance(square, PictureError):
                    broken[row] = str(square)
                else:
                    batch[filled] = scaled(square)
                    filled += 1
                last = row == len(sources) - 1
                if filled == batch_size or (last and filled):
                    vectors[done : done + filled] = self.model.predict_on_batch(batch)[:filled]
                    done, filled = done + filled, 0
                bar.update()
        return vectors[:done], broken


def _prepared(
    sources: Sequence[Source], size: int, ahead: int
) -> Iterator[np.ndarray | PictureError]:
    """Square pictures in order, decoded by threads that keep at most `ahead` of them waiting."""

    def prepare(source: Source) -> np.ndarray | PictureError:
        try:
            return square_picture(source, size)
        except PictureError as error:
            return error

    waiting: deque[Future[np.ndarray | PictureError]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in sources:
            waiting.append(pool.submit(prepare, source))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "picture"
