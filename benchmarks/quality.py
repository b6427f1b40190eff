"""Compare retrieval quality at equal cost: this project and its peers on the same pictures.

Every method gets the same catalogue, split, square pictures, starting weights (MobileNet 1.0
trained on ImageNet) and number of training pictures, on the CPU. Each trains with its documented
recipe, and `siamese.retrieval_metrics` measures it on items that it was not trained on. Each peer
has its own environment in the work folder, which is created when it is first needed::

    python benchmarks/quality.py --weights mobilenet_1_0_224_tf_no_top.h5 --pictures-seen 10240 \
        --catalogue emoji=emoji/train.json,emoji/test.json,emoji

It prints a Markdown table per catalogue. Finished runs are kept in the work folder; to repeat
one, remove its folder. docs/quality.md describes the recipes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from environments import create_environment, run_logged

from siamese.cli.output import report_errors
from siamese.data.catalogue import Catalogue
from siamese.data.images import PictureError, square_picture
from siamese.errors import InputError
from siamese.evaluation.metrics import retrieval_metrics
from siamese.training.recipe import Recipe
from siamese.utils.files import atomic_path
from siamese.utils.progress import progress_bar
from siamese.utils.threads import map_in_threads

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "quality_peers"

TORCH = ("torch==2.13.0", "torchvision==0.28.0", "h5py==3.16.0")
ENVIRONMENTS = {
    "pml": ("pytorch-metric-learning==2.9.0", *TORCH),
    # omegaconf is imported, but not among the requirements.
    "oml": ("open-metric-learning==4.0.0", "omegaconf==2.3.0", *TORCH),
    # The last TensorFlow with Keras 2, which this peer needs; it runs on Python 3.11.
    "tfsim": ("tensorflow-similarity==0.17.1", "tensorflow==2.15.1"),
}
"""Packages of each peer's environment."""


@dataclass(frozen=True)
class Method:
    """Row of the table.

    Attributes
    ----------
    title : str
        Name in the table.
    peer : str or None
        Environment of the peer, with the script `quality_peers/train_{peer}.py`. None for this
        project.
    recipe : str, tuple of str or None
        Recipe of the script, or flags of `siamese train`. None for no training.
    """

    title: str
    peer: str | None
    recipe: str | tuple[str, ...] | None


METHODS = {
    "untrained": Method("no training", None, None),
    "siamese": Method("**siamese train**", None, ()),
    "siamese-plain": Method(
        "siamese train, random pairs, contrastive loss",
        None,
        ("--sampling", "random-pairs", "--margin", "1"),
    ),
    "pml": Method("pytorch-metric-learning, its example", "pml", "documented"),
    "pml-faster": Method("— learning rates × 10", "pml", "faster"),
    "pml-no-embedder": Method("— learning rate × 10, no embedder", "pml", "no-embedder"),
    "oml": Method("open-metric-learning, its README", "oml", "documented"),
    "oml-sop": Method("— its pipeline for SOP, the README's learning rate", "oml", "sop"),
    "tfsim": Method("TensorFlow Similarity, its hello world", "tfsim", "documented"),
    "tfsim-birds": Method("— its example for birds, hello world's rate", "tfsim", "birds"),
}


@dataclass(frozen=True)
class Benchmark:
    """Catalogue prepared for all methods, and the settings of its runs.

    Attributes
    ----------
    name : str
        Name of the catalogue.
    train, test : Path
        JSON files of the two parts.
    image_dir : Path
        Folder of the pictures.
    pictures : Path
        Folder of the arrays written by `prepare`.
    test_items : list of str
        Item of each test picture.
    weights : Path
        Keras' file of MobileNet's weights.
    picture_size : int
        Side length of the pictures in pixels.
    pictures_seen : int
        Requested number of training pictures, repetitions counted.
    work : Path
        Work folder.
    python : str
        Python for the peers' environments.
    """

    name: str
    train: Path
    test: Path
    image_dir: Path
    pictures: Path
    test_items: list[str]
    weights: Path
    picture_size: int
    pictures_seen: int
    work: Path
    python: str

    def run(self, method: str, seed: int) -> dict[str, Any]:
        """Train a method and measure it on the test pictures, or read the result of a finished run.

        Returns
        -------
        dict
            ``figures``, the metrics of `retrieval_metrics`; and, unless untrained, ``seconds``
            (from the start of Python to the trained model), ``pictures_seen`` and ``versions``.

        Raises
        ------
        InputError
            If the run fails. The message names its log.
        """
        size = f"{self.picture_size}px-{self.pictures_seen}"
        folder = self.work / "runs" / self.name / size / method / f"seed-{seed}"
        result = folder / "result.json"
        if result.is_file():
            return json.loads(result.read_text())
        print(f"{self.name}: {method}, seed {seed} …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        peer, recipe = METHODS[method].peer, METHODS[method].recipe
        if recipe is None:
            shutil.copy(self.pictures / "untrained.npy", folder / "vectors.npy")
            facts: dict[str, Any] = {}
        elif peer is None:
            facts = self._train_siamese(recipe, seed, folder)
        else:
            self._train_peer(peer, str(recipe), seed, folder)
            facts = json.loads((folder / "facts.json").read_text())
        facts["figures"] = retrieval_metrics(np.load(folder / "vectors.npy"), self.test_items)
        with atomic_path(result) as temporary:
            temporary.write_text(json.dumps(facts, indent=1))
        return facts

    def plan(self, seed: int) -> tuple[int, int]:
        """Return the epochs of `siamese train`, and the pictures that every method is shown.

        `siamese train` shows whole epochs, so `pictures_seen` is rounded to them.
        """
        batch_size = Recipe.batch_size
        per_epoch = -(-self._count_training_pictures(seed) // batch_size) * batch_size
        epochs = round(self.pictures_seen / per_epoch)
        if epochs == 0:  # less than an epoch is only for a trial of the peers
            return 1, self.pictures_seen
        return epochs, epochs * per_epoch

    def _count_training_pictures(self, seed: int) -> int:
        """Count the pictures of the items that `siamese train` does not hold out."""
        trained_on, _ = Catalogue.read(self.train, self.image_dir).split(1 - Recipe.held_out, seed)
        return len(trained_on.pictures)

    def _train_siamese(self, flags: Sequence[str] | str, seed: int, folder: Path) -> dict[str, Any]:
        epochs, pictures_seen = self.plan(seed)
        random_pairs = "random-pairs" in flags
        if random_pairs:  # an epoch pairs every picture with another one, in whole batches
            batches = self._count_training_pictures(seed) // Recipe.batch_size
            epochs = max(1, round(pictures_seen / max(1, 2 * batches * Recipe.batch_size)))
        checkpoints = folder / "checkpoints"
        call: list[object] = [sys.executable, "-m", "siamese", "train", *flags]
        call += ["--labeled-data", self.train, "--image-dir", self.image_dir]
        call += ["--backbone", "MobileNet", "--weights", self.weights]
        call += ["--picture-size", self.picture_size, "--output", checkpoints]
        call += ["--epochs", epochs, "--seed", seed]
        start = time.perf_counter()
        run_logged(call, folder / "log.txt", python_path=[ROOT])
        seconds = time.perf_counter() - start
        # The optimizer's state has the number of steps taken.
        with h5py.File(checkpoints / "training_state.hdf5", "r") as file:
            steps = int(file["training_optimizer/0"][()])
            batch_size = json.loads(file["training_state"][()])["recipe"]["batch_size"]
        model = ("--keras-model", checkpoints / "final_model.hdf5")
        self.embed(folder / "vectors.npy", folder / "log.txt", *model)
        shutil.rmtree(checkpoints)
        seen = steps * batch_size * (2 if random_pairs else 1)
        return {"pictures_seen": seen, "seconds": seconds, "versions": {}}

    def _train_peer(self, peer: str, recipe: str, seed: int, folder: Path) -> None:
        environment = self.work / "environments" / peer
        python = create_environment(environment, ENVIRONMENTS[peer], self.python)
        call: list[object] = [python, PEERS / f"train_{peer}.py", "--recipe", recipe]
        call += ["--pictures", self.pictures, "--weights", self.weights]
        call += ["--pictures-seen", self.plan(seed)[1], "--seed", seed, "--output", folder]
        run_logged(call, folder / "log.txt", python_path=[ROOT])

    def embed(self, output: Path, log: Path, *model: str | Path) -> None:
        """Embed the test pictures with a model of this project, in a separate process."""
        script, pictures = PEERS / "embed_siamese.py", self.pictures / "test.npy"
        run_logged([sys.executable, script, pictures, output, *model], log, python_path=[ROOT])


def prepare(name: str, files: Sequence[Path], arguments: argparse.Namespace) -> Benchmark:
    """Write the square pictures that all methods get, and the features before training.

    The folder `pictures/NAME-SIZEpx` of the work folder then holds `train.npy` and `test.npy`,
    uint8 (n, s, s, 3); `train_items.npy`, int (n,); `test_items.json`; and `untrained.npy`,
    float32 (m, 1024), the test pictures embedded by the untrained MobileNet in Keras.
    """
    train, test, image_dir = files
    folder = arguments.work_dir / "pictures" / f"{name}-{arguments.picture_size}px"
    if not folder.is_dir():
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            items = _write_squares(
                Catalogue.read(train, image_dir), arguments.picture_size, temporary / "train"
            )
            numbers = {item: number for number, item in enumerate(dict.fromkeys(items))}
            np.save(temporary / "train_items.npy", [numbers[item] for item in items])
            items = _write_squares(
                Catalogue.read(test, image_dir), arguments.picture_size, temporary / "test"
            )
            (temporary / "test_items.json").write_text(json.dumps(items))
    benchmark = Benchmark(
        name,
        train,
        test,
        image_dir,
        folder,
        json.loads((folder / "test_items.json").read_text()),
        arguments.weights,
        arguments.picture_size,
        arguments.pictures_seen,
        arguments.work_dir,
        arguments.python,
    )
    if not (folder / "untrained.npy").is_file():
        with atomic_path(folder / "untrained.npy") as temporary:
            benchmark.embed(temporary, folder / "log.txt", "--weights", arguments.weights)
    return benchmark


def _write_squares(catalogue: Catalogue, size: int, path: Path) -> list[str]:
    """Write the readable pictures of a catalogue as one array, and return the item of each."""

    def read_square(file: Path) -> np.ndarray | None:
        try:
            return square_picture(file, size)
        except PictureError:
            return None

    squares, items = [], []
    paths = [catalogue.path_of(picture) for picture in catalogue.pictures]
    with progress_bar(f"preparing {path.name}", len(paths)) as bar:
        arrays = map_in_threads(read_square, paths, ahead=64)
        for picture, array in zip(catalogue.pictures, arrays, strict=True):
            bar.update()
            if array is not None:
                squares.append(array)
                items.append(picture.item_id)
    np.save(path.with_suffix(".npy"), np.stack(squares))
    return items


def format_table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Format the runs of a catalogue as Markdown: mean ± standard deviation over the seeds.

    Parameters
    ----------
    results : dict of str to list of dict
        Results of `Benchmark.run` by method.
    """
    lines = [
        "| method | recall@1 | MAP@R | pictures seen | seconds | pictures/s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method, runs in results.items():
        quality = [
            _format_spread([run["figures"][metric] for run in runs], _format_fraction)
            for metric in ("recall@1", "map@r")
        ]
        cost = ["–"] * 3
        if METHODS[method].recipe is not None:
            seen = statistics.mean(run["pictures_seen"] for run in runs)
            speed = statistics.mean(run["pictures_seen"] / run["seconds"] for run in runs)
            seconds = _format_spread(
                [run["seconds"] for run in runs], lambda value: f"{value:,.0f}"
            )
            cost = [f"{seen:,.0f}", seconds, f"{speed:.0f}"]
        lines.append(f"| {' | '.join([METHODS[method].title, *quality, *cost])} |")
    return "\n".join(lines)


def _format_spread(values: Sequence[float], format_value: Callable[[float], str]) -> str:
    mean = format_value(statistics.mean(values))
    return f"{mean} ± {format_value(statistics.stdev(values))}" if len(values) > 1 else mean


def _format_fraction(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def parse_catalogue(text: str) -> tuple[str, list[Path]]:
    """Parse ``NAME=train.json,test.json,image_dir``."""
    name, _, files = text.partition("=")
    paths = [Path(file).absolute() for file in files.split(",")]
    if not name or len(paths) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=train.json,test.json,image_dir")
    return name, paths


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--catalogue",
        dest="catalogues",
        type=parse_catalogue,
        action="append",
        required=True,
        metavar="NAME=train.json,test.json,image_dir",
        help="catalogue to measure on; may be repeated",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="Keras' file of MobileNet 1.0's ImageNet weights without the classifier",
    )
    parser.add_argument(
        "--pictures-seen",
        type=int,
        default=10_240,
        help="training pictures, repetitions counted, rounded to whole epochs of siamese train",
    )
    parser.add_argument("--picture-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work-dir", type=Path, default=Path("quality"))
    parser.add_argument("--python", default=sys.executable, help="Python 3.11, for the peers")
    arguments = parser.parse_args()
    arguments.only = [method for method in METHODS if method in arguments.only]
    arguments.work_dir = arguments.work_dir.absolute()
    arguments.weights = arguments.weights.absolute()
    return arguments


def main() -> None:
    """Run what is missing, and print the tables."""
    arguments = _parse_arguments()
    failures: list[str] = []
    with report_errors():
        if not arguments.weights.is_file():
            raise InputError(
                f"{arguments.weights}: no such file; give Keras' MobileNet weights as --weights"
            )
        for name, files in arguments.catalogues:
            benchmark = prepare(name, files, arguments)
            results: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.only}
            for seed in arguments.seeds:
                for method in arguments.only:
                    try:
                        results[method].append(benchmark.run(method, seed))
                    except InputError as error:
                        failures += [
                            f"{name}: {method}, seed {seed}: {line}" for line in error.lines
                        ]
                        print(f"error: {failures[-1]}", file=sys.stderr)
            print(f"\n### {name}\n")
            print(format_table({method: runs for method, runs in results.items() if runs}))
        if failures:
            raise InputError(failures)


if __name__ == "__main__":
    main()
