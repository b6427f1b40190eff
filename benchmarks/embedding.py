"""Compare how fast this project and others turn JPEG files into vectors, in pictures per second.

    python benchmarks/embedding.py grocery/images --pictures 1000 --large
    python benchmarks/embedding.py grocery/images --models ResNet50 --weights none --peers

The methods, all with the same architecture and picture size:

- **one by one**: Pillow opens, pads and resizes each picture, and `model.predict` embeds batches
  of 32;
- **Keras**: `keras.utils.image_dataset_from_directory` with padding, and `model.predict`;
- **torch** (with `--peers`): a `DataLoader` with one worker per core, and timm's model. It has its
  own environment in the work folder, which is created when it is first needed;
- **ours**: `embed_into_store` with an empty store, including hashing files and writing vectors.

Two limits are measured in the same run on all cores: decoding alone, and the model alone on
pictures in memory. Together they allow 1 / (1 / decoding + 1 / model) pictures per second.

Loading a model and its first batch are not timed. Each result is the best of `--repeats`. The
methods take turns, so that a busy minute of the machine does not hit only one. `--large` also
measures the photos enlarged to 1024 × 768. It prints Markdown.
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
from environments import create_environment
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
PEER_PACKAGES = ("torch==2.13.0", "torchvision==0.28.0", "timm==1.0.31")
TIMM = {
    "EfficientNetLite0": "tf_efficientnet_lite0",
    "MobileNetV2": "mobilenetv2_100",
    "MobileNetV3Large": "mobilenetv3_large_100",
    "ResNet50": "resnet50",
}
"""Name of each architecture in timm."""
SIZE, BATCH = 224, 32
LARGE = (1024, 768)


def embed_one_by_one(embedder: Embedder, folder: Path) -> None:
    """Embed as the original toolkit did."""
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


def embed_with_keras(embedder: Embedder, folder: Path) -> None:
    """Embed as Keras' documentation does."""
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


def embed_with_siamese(embedder: Embedder, folder: Path) -> None:
    """Embed as `siamese embed` does."""
    catalogue = Catalogue.read(folder / "items.json")
    with tempfile.TemporaryDirectory() as store:
        run = embed_into_store(embedder, EmbeddingStore(store), catalogue, batch_size=BATCH)
    if run.skipped:
        raise InputError(f"{picture.filename}: {picture.reason}" for picture in run.skipped)


def decode_only(embedder: Embedder, folder: Path) -> None:
    """Decode the pictures on all cores."""
    for _ in map_in_threads(
        lambda path: square_picture(path, SIZE), folder.glob("*.jpg"), ahead=64
    ):
        pass


def run_model_only(embedder: Embedder, folder: Path) -> None:
    """Run the model on as many pictures in memory, on all cores."""
    count = len(list(folder.glob("*.jpg")))
    squares = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    for first in range(0, count, BATCH):
        embedder.runtime.embed_squares(squares[: count - first])


METHODS: dict[str, Callable[[Embedder, Path], None]] = {
    "one by one": embed_one_by_one,
    "Keras": embed_with_keras,
    "ours": embed_with_siamese,
    "decoding": decode_only,
    "model": run_model_only,
}


def measure_methods(embedder: Embedder, folder: Path, repeats: int) -> dict[str, float]:
    """Measure the pictures per second of each method."""
    count = len(list(folder.glob("*.jpg")))
    embedder.model.predict(np.zeros((BATCH, SIZE, SIZE, 3), np.float32), verbose=0)
    embedder.runtime.embed_squares(np.zeros((BATCH, SIZE, SIZE, 3), np.uint8))
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, embed in METHODS.items():
            start = time.perf_counter()
            embed(embedder, folder)
            best[name] = max(best.get(name, 0.0), count / (time.perf_counter() - start))
    return best


def measure_torch(python: Path, architecture: str, folder: Path, repeats: int) -> float:
    """Measure the pictures per second of the peer."""
    names = "\n".join(str(path) for path in sorted(folder.glob("*.jpg")))
    command = [python, PEER, TIMM[architecture], SIZE, BATCH, repeats]
    process = subprocess.run(
        [str(word) for word in command],
        input=names,
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    if process.returncode:
        raise InputError(f"{PEER.name}: {process.stderr.strip().splitlines()[-1]}")
    return float(process.stdout)


def prepare_pictures(image_dir: Path, count: int, work: Path, large: bool) -> Path:
    """Copy or enlarge some JPEGs into a folder, with an items.json, and return the folder."""
    paths = sorted(
        path for path in image_dir.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    )
    if not paths:
        raise InputError(f"{image_dir}: no .jpg in it; give a folder of JPEG files")
    # Spread the sample over the folders, which may be sorted by content.
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
    """Print a row per architecture and set of pictures, with ratios to "one by one"."""
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


def load_embedder(architecture: str, weights: str, precision: Any) -> Embedder:
    """Load an architecture with pretrained weights, or with random ones for weights "none"."""
    from siamese.models.embedding_model import embedding_model

    if weights == "none" and architecture != "EfficientNetLite0":
        model = embedding_model(architecture, SIZE, weights=None)
        return Embedder.from_model(model, architecture, precision=precision)
    return Embedder.pretrained(architecture, SIZE, precision=precision)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image_dir", type=Path, help="folder of JPEG files, searched recursively")
    parser.add_argument("--pictures", type=int, default=1000, help="number of JPEG files")
    parser.add_argument("--large", action="store_true", help="also measure on photos of 1024 × 768")
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(TIMM),
        choices=TIMM,
    )
    parser.add_argument(
        "--weights",
        choices=["imagenet", "none"],
        default="imagenet",
        help="none: random weights, which are as fast",
    )
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="also measure torch")
    parser.add_argument(
        "--python", default=sys.executable, help="Python for the peer's environment"
    )
    parser.add_argument("--work", type=Path, default=Path("embedding-benchmark"))
    arguments = parser.parse_args()
    with report_errors():
        import_keras()
        peer = (
            create_environment(
                arguments.work / "environments" / "torch", PEER_PACKAGES, arguments.python
            )
            if arguments.peers
            else None
        )
        sets = {
            "as they are": prepare_pictures(
                arguments.image_dir, arguments.pictures, arguments.work, False
            )
        }
        if arguments.large:
            sets["1024 × 768"] = prepare_pictures(
                arguments.image_dir, arguments.pictures, arguments.work, True
            )
        rows = []
        runtimes = set()
        for architecture in arguments.models:
            embedder = load_embedder(architecture, arguments.weights, arguments.precision)
            runtimes.add(f"{embedder.runtime.name} in {embedder.runtime.precision}")
            for name, folder in sets.items():
                rates = measure_methods(embedder, folder, arguments.repeats)
                if peer is not None:
                    rates["torch"] = measure_torch(peer, architecture, folder, arguments.repeats)
                rows.append((name, architecture, rates))
        print(
            f"Pictures per second, {arguments.pictures:,} JPEGs, {SIZE} px, {os.cpu_count()} "
            f"cores; ours by {', '.join(sorted(runtimes))}.\n"
        )
        print_table(rows)


if __name__ == "__main__":
    main()
