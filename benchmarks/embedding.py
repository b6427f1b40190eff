"""From JPEG files to vectors: pictures a second, this project beside others, on the same files.

    python benchmarks/embedding.py grocery/images --pictures 1000 --large
    python benchmarks/embedding.py grocery/images --models ResNet50 --weights none --peers

Ways, each with the same architecture at the same picture size:

- **one by one**: Pillow opens, pads and resizes each picture, `model.predict` embeds batches of 32;
- **Keras**: `keras.utils.image_dataset_from_directory`, padded as here, through `model.predict`;
- **torch** (with `--peers`): a `DataLoader` with a worker a core, and timm's model. It lives in an
  environment of its own, which is made in the work folder when it is first needed;
- **ours**: `embed_into_store` into an empty store, files hashed and vectors written.

Beside them two limits, measured in the same run with all cores: decoding alone, and the model alone
on pictures in memory. What is shown against them is 1 / (1 / decoding + 1 / model).

Loading a model, and its first batch, are not counted. Each figure is the best of `--repeats`, each
way's in turn, so that a busy minute does not fall on one alone. With `--large` the same is measured
on 1024 × 768 photos made of the files. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from siamese.cli.output import report_errors
from siamese.data.catalogue import Catalogue
from siamese.data.images import square_picture, to_network_input
from siamese.embedding.embed_catalogue import embed_into_store
from siamese.embedding.embedder import Embedder
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError
from siamese.utils.keras_import import import_keras
from siamese.utils.threads import map_in_threads

PEER = Path(__file__).resolve().parent / "embedding_peers" / "torch_loader.py"
PEER_NEEDS = ("torch==2.13.0", "torchvision==0.28.0", "timm==1.0.31")
TIMM = {
    "EfficientNetLite0": "tf_efficientnet_lite0",
    "MobileNetV2": "mobilenetv2_100",
    "MobileNetV3Large": "mobilenetv3_large_100",
    "ResNet50": "resnet50",
}
"""timm's name of each architecture."""
SIZE, BATCH = 224, 32
LARGE = (1024, 768)


def one_by_one(embedder: Embedder, folder: Path) -> None:
    """As the original toolkit did it."""
    paths = sorted(folder.glob("*.jpg"))
    for first in range(0, len(paths), BATCH):
        squares = []
        for path in paths[first : first + BATCH]:
            picture = Image.open(path).convert("RGB")
            side = max(picture.size)
            square = Image.new("RGB", (side, side), "white")
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
            squares.append(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        embedder.model.predict(to_network_input(np.stack(squares)), verbose=0)


def by_keras(embedder: Embedder, folder: Path) -> None:
    """As Keras' documentation does it."""
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        batch_size=BATCH,
        image_size=(SIZE, SIZE),
        shuffle=False,
        pad_to_aspect_ratio=True,
        verbose=False,
    )
    ready = dataset.map(lambda pictures: pictures / 127.5 - 1.0).prefetch(tf.data.AUTOTUNE)
    embedder.model.predict(ready, verbose=0)


def ours(embedder: Embedder, folder: Path) -> None:
    """As `siamese embed` does it."""
    catalogue = Catalogue.read(folder / "items.json")
    with tempfile.TemporaryDirectory() as store:
        done = embed_into_store(embedder, EmbeddingStore(store), catalogue, batch_size=BATCH)
    if done.skipped:
        raise InputError(f"{one.filename}: {one.reason}" for one in done.skipped)


def decoding(embedder: Embedder, folder: Path) -> None:
    """The limit of what opens pictures, with all cores."""
    for _ in map_in_threads(
        lambda path: square_picture(path, SIZE), folder.glob("*.jpg"), ahead=64
    ):
        pass


def model_alone(embedder: Embedder, folder: Path) -> None:
    """The limit of what embeds them, with all cores."""
    count = len(list(folder.glob("*.jpg")))
    squares = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    for first in range(0, count, BATCH):
        embedder.runtime.embed_squares(squares[: count - first])


WAYS: dict[str, Callable[[Embedder, Path], None]] = {
    "one by one": one_by_one,
    "Keras": by_keras,
    "ours": ours,
    "decoding": decoding,
    "model": model_alone,
}


def measured(embedder: Embedder, folder: Path, repeats: int) -> dict[str, float]:
    """Pictures a second of each way."""
    count = len(list(folder.glob("*.jpg")))
    embedder.model.predict(np.zeros((BATCH, SIZE, SIZE, 3), np.float32), verbose=0)
    embedder.runtime.embed_squares(np.zeros((BATCH, SIZE, SIZE, 3), np.uint8))
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, way in WAYS.items():
            began = time.perf_counter()
            way(embedder, folder)
            best[name] = max(best.get(name, 0.0), count / (time.perf_counter() - began))
    return best


def by_torch(python: Path, architecture: str, folder: Path, repeats: int) -> float:
    """Pictures a second of the peer."""
    names = "\n".join(str(path) for path in sorted(folder.glob("*.jpg")))
    words = [python, PEER, TIMM[architecture], SIZE, BATCH, repeats]
    done = subprocess.run(
        [str(word) for word in words],
        input=names,
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        raise InputError(f"{PEER.name}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def torch_environment(work: Path, python: str) -> Path:
    """The Python of the peer's environment, which is made where it is not there yet."""
    folder = work / "environments" / "torch"
    made_for, pins = folder / "made-for.txt", "\n".join(PEER_NEEDS)
    if not made_for.is_file() or made_for.read_text() != pins:
        print(f"setting up torch: {', '.join(PEER_NEEDS)} …", file=sys.stderr, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *PEER_NEEDS]
        subprocess.run(pip, check=True)
        made_for.write_text(pins)
    return folder / "bin" / "python"


def prepared(image_dir: Path, count: int, work: Path, large: bool) -> Path:
    """A folder of so many JPEGs and their items.json, copied or made larger."""
    paths = sorted(
        path for path in image_dir.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    )
    if not paths:
        raise InputError(f"{image_dir}: no .jpg in it")
    # Some of everything, where the folders are sorted by what they show.
    paths = paths[:: max(1, len(paths) // count)][:count]
    folder = work / f"{'large' if large else 'as-they-are'}-{len(paths)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    items: dict[str, Any] = {}
    for number, path in enumerate(paths):
        name = f"{number:06}.jpg"
        if large:
            with Image.open(path) as picture:
                enlarged = picture.convert("RGB").resize(LARGE, Image.Resampling.LANCZOS)
            enlarged.save(folder / name, quality=90)
        else:
            shutil.copyfile(path, folder / name)
        items[f"item {number}"] = {"images": [{"filename": name}], "labels": []}
    (folder / "items.json").write_text(json.dumps(items))
    return folder


def print_table(rows: list[tuple[str, str, dict[str, float]]]) -> None:
    """One row an architecture and a set of pictures; ratios are to the way one by one."""
    others = [name for name in ("Keras", "torch", "ours") if any(name in row[2] for row in rows)]
    heads = ["pictures", "architecture", "one by one", *others, "decoding", "model", "ours : limit"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for pictures, architecture, rates in rows:
        base = rates["one by one"]
        limit = 1 / (1 / rates["decoding"] + 1 / rates["model"])
        cells = [pictures, architecture, f"{base:,.1f}"]
        for name in others:
            cells.append(
                f"{rates[name]:,.1f} (×{rates[name] / base:.1f})" if name in rates else "–"
            )
        cells += [f"{rates['decoding']:,.1f}", f"{rates['model']:,.1f}"]
        cells.append(f"{rates['ours'] / limit:.2f}")
        print("| " + " | ".join(cells) + " |")


def embedder_of(architecture: str, weights: str, precision: Any) -> Embedder:
    """The architecture in our embedder, with random weights where that is asked for."""
    from siamese.models.embedding_model import embedding_model

    if weights == "none" and architecture != "EfficientNetLite0":
        model = embedding_model(architecture, SIZE, weights=None)
        return Embedder.from_model(model, architecture, precision=precision)
    return Embedder.pretrained(architecture, SIZE, precision=precision)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image_dir", type=Path, help="JPEG files, in folders or not")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--large", action="store_true", help="also 1024 × 768")
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(TIMM),
        choices=TIMM,
    )
    parser.add_argument(
        "--weights", choices=["imagenet", "none"], default="imagenet", help="none: random, as fast"
    )
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="torch too")
    parser.add_argument("--python", default=sys.executable, help="for the peer's environment")
    parser.add_argument("--work", type=Path, default=Path("embedding-benchmark"))
    given = parser.parse_args()
    with report_errors():
        import_keras()
        peer = torch_environment(given.work, given.python) if given.peers else None
        sets = {"as they are": prepared(given.image_dir, given.pictures, given.work, False)}
        if given.large:
            sets["1024 × 768"] = prepared(given.image_dir, given.pictures, given.work, True)
        rows = []
        runtimes = set()
        for architecture in given.models:
            embedder = embedder_of(architecture, given.weights, given.precision)
            runtimes.add(f"{embedder.runtime.name} in {embedder.runtime.precision}")
            for name, folder in sets.items():
                rates = measured(embedder, folder, given.repeats)
                if peer is not None:
                    rates["torch"] = by_torch(peer, architecture, folder, given.repeats)
                rows.append((name, architecture, rates))
        print(
            f"Pictures a second, {given.pictures:,} JPEGs, {SIZE} px, {os.cpu_count()} cores; ours "
            f"by {', '.join(sorted(runtimes))}.\n"
        )
        print_table(rows)


if __name__ == "__main__":
    main()
