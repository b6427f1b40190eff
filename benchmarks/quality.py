"""Retrieval quality at equal cost: this project and its peers on the same pictures.

Every method gets the same catalogue, split, square pictures, starting weights (MobileNet 1.0 of
ImageNet) and number of training pictures seen, on the CPU; each trains with its own documented
recipe, and is measured by `siamese.evaluation.metrics.retrieval_metrics` on items it was not trained on. Each
peer lives in an environment of its own, which is made in the work folder when it is first needed::

    python benchmarks/quality.py --weights mobilenet_1_0_224_tf_no_top.h5 --pictures-seen 10240 \
        --catalogue emoji=emoji/train.json,emoji/test.json,emoji

Prints one table a catalogue, as Markdown. A finished run is kept in the work folder and not
repeated; remove its folder to have it measured anew. docs/quality.md tells of the recipes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

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

ENVIRONMENTS = {
    "pml": (
        "pytorch-metric-learning==2.9.0",
        "torch==2.13.0",
        "torchvision==0.28.0",
        "h5py==3.16.0",
    ),
    "oml": (
        "open-metric-learning==4.0.0",
        "omegaconf==2.3.0",  # imported, but not among its requirements
        "torch==2.13.0",
        "torchvision==0.28.0",
        "h5py==3.16.0",
    ),
    # The last TensorFlow whose own Keras is Keras 2, which this peer needs; for Python 3.11.
    "tfsim": ("tensorflow-similarity==0.17.1", "tensorflow==2.15.1"),
}
"""What is installed for each peer."""


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes
    ----------
    title : what the table says
    peer : the environment, and its script `quality_peers/train_{peer}.py`; None for this project
    recipe : of the script; or flags of `siamese train`, or None for no training
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
    """A catalogue, ready for everybody, and what holds for all its runs.

    Attributes
    ----------
    name : of the catalogue
    train, test : the two JSON files
    image_dir : the folder of their pictures
    pictures : the folder of what `prepare` made of them
    test_items : the item of each test picture
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
        """Train a method once, embed, measure; or read what an earlier run has left.

        Returns
        -------
        `figures` as of `retrieval_metrics`; and, but for the untrained, `seconds` (from the start
        of Python to the trained model), `pictures_seen` and `versions`

        Raises
        ------
        InputError
            The run failed; its log is named.
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

    def planned(self, seed: int) -> tuple[int, int]:
        """The epochs of `siamese train`, and the pictures that everybody is then shown.

        Ours shows whole epochs only, so the number asked for is rounded to them.
        """
        batch_size = Recipe.batch_size
        an_epoch = -(-self._learnt_from(seed) // batch_size) * batch_size
        epochs = round(self.pictures_seen / an_epoch)
        if epochs == 0:  # a trial of the peers alone: ours cannot show so few
            return 1, self.pictures_seen
        return epochs, epochs * an_epoch

    def _learnt_from(self, seed: int) -> int:
        """The pictures of the items that `siamese train` does not hold out."""
        learnt_from, _ = Catalogue.read(self.train, self.image_dir).split(1 - Recipe.held_out, seed)
        return len(learnt_from.pictures)

    def _train_siamese(self, flags: Sequence[str] | str, seed: int, folder: Path) -> dict[str, Any]:
        epochs, pictures_seen = self.planned(seed)
        random_pairs = "random-pairs" in flags
        if random_pairs:  # an epoch shows every picture with another one, in whole batches of pairs
            an_epoch = 2 * (self._learnt_from(seed) // Recipe.batch_size) * Recipe.batch_size
            epochs = max(1, round(pictures_seen / max(1, an_epoch)))
        checkpoints = folder / "checkpoints"
        call: list[object] = [sys.executable, "-m", "siamese", "train", *flags]
        call += ["--labeled-data", self.train, "--image-dir", self.image_dir]
        call += ["--backbone", "MobileNet", "--weights", self.weights]
        call += ["--picture-size", self.picture_size, "--output", checkpoints]
        call += ["--epochs", epochs, "--seed", seed]
        start = time.perf_counter()
        logged(call, folder / "log.txt")
        seconds = time.perf_counter() - start
        # The steps that were really made are in the optimizer's state.
        with h5py.File(checkpoints / "training_state.hdf5", "r") as file:
            steps = int(file["training_optimizer/0"][()])
            batch_size = json.loads(file["training_state"][()])["recipe"]["batch_size"]
        model = ("--keras-model", checkpoints / "final_model.hdf5")
        self.embed(folder / "vectors.npy", folder / "log.txt", *model)
        shutil.rmtree(checkpoints)
        seen = steps * batch_size * (2 if random_pairs else 1)
        return {"pictures_seen": seen, "seconds": seconds, "versions": {}}

    def _train_peer(self, peer: str, recipe: str, seed: int, folder: Path) -> None:
        call: list[object] = [environment(peer, self.work, self.python), PEERS / f"train_{peer}.py"]
        call += ["--recipe", recipe, "--pictures", self.pictures, "--weights", self.weights]
        call += ["--pictures-seen", self.planned(seed)[1], "--seed", seed, "--output", folder]
        logged(call, folder / "log.txt")

    def embed(self, output: Path, log: Path, *model: str | Path) -> None:
        """Embed the test pictures with a model of this project, in a process of its own."""
        call: list[object] = [
            sys.executable,
            PEERS / "embed_siamese.py",
            self.pictures / "test.npy",
        ]
        logged([*call, output, *model], log)


def prepare(
    name: str, files: Sequence[Path], given: argparse.Namespace, picture_size: int
) -> Benchmark:
    """Make the square pictures that everybody gets, and the features that everybody starts with.

    In `pictures/NAME-SIZEpx` of the work folder: `train.npy` and `test.npy`, uint8 (n, s, s, 3);
    `train_items.npy`, int (n,); `test_items.json`; `untrained.npy`, float32 (m, 1024), which the
    untrained MobileNet makes of the test pictures in Keras.
    """
    train, test, image_dir = files
    folder = given.work_dir / "pictures" / f"{name}-{picture_size}px"
    if not folder.is_dir():
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            items = _squares(Catalogue.read(train, image_dir), picture_size, temporary / "train")
            numbers = {item: number for number, item in enumerate(dict.fromkeys(items))}
            np.save(temporary / "train_items.npy", [numbers[item] for item in items])
            items = _squares(Catalogue.read(test, image_dir), picture_size, temporary / "test")
            (temporary / "test_items.json").write_text(json.dumps(items))
    benchmark = Benchmark(
        name,
        train,
        test,
        image_dir,
        folder,
        json.loads((folder / "test_items.json").read_text()),
        given.weights,
        picture_size,
        given.pictures_seen,
        given.work_dir,
        given.python,
    )
    if not (folder / "untrained.npy").is_file():
        with atomic_path(folder / "untrained.npy") as temporary:
            benchmark.embed(temporary, folder / "log.txt", "--weights", given.weights)
    return benchmark


def _squares(catalogue: Catalogue, size: int, path: Path) -> list[str]:
    """Write a catalogue's pictures as one array; returns the item of each, without broken ones."""

    def square(file: Path) -> np.ndarray | None:
        try:
            return square_picture(file, size)
        except PictureError:
            return None

    squares, items = [], []
    paths = [catalogue.path_of(picture) for picture in catalogue.pictures]
    with progress_bar(f"preparing {path.name}", len(paths)) as bar:
        made = map_in_threads(square, paths, ahead=64)
        for picture, array in zip(catalogue.pictures, made, strict=True):
            bar.update()
            if array is not None:
                squares.append(array)
                items.append(picture.item_id)
    np.save(path.with_suffix(".npy"), np.stack(squares))
    return items


def environment(peer: str, work: Path, python: str) -> Path:
    """The Python of a peer's environment, which is made where it is not there yet."""
    folder = work / "environments" / peer
    pins = "\n".join(ENVIRONMENTS[peer])
    made_for = folder / "made-for.txt"
    if not made_for.is_file() or made_for.read_text() != pins:
        print(f"setting up {peer}: {', '.join(ENVIRONMENTS[peer])} …", file=sys.stderr, flush=True)
        log = work / "environments" / f"{peer}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        logged([python, "-m", "venv", "--clear", folder], log)
        logged([folder / "bin" / "python", "-m", "pip", "install", *ENVIRONMENTS[peer]], log)
        made_for.write_text(pins)
    return folder / "bin" / "python"


def logged(call: Sequence[object], log: Path) -> None:
    """Run a command on the CPU, with what it prints added to a file.

    Raises
    ------
    InputError
        It failed: its last line, and where the others are.
    """
    quiet = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    with log.open("a") as file:
        done = subprocess.run(
            [str(word) for word in call],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **quiet},
        )
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{log}: {last}")


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The runs of a catalogue as a Markdown table: mean ± standard deviation over the seeds.

    Parameters
    ----------
    results : the results of `Benchmark.run` by method
    """
    lines = [
        "| method | recall@1 | MAP@R | pictures seen | seconds | pictures/s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method, runs in results.items():
        quality = [
            _spread([run["figures"][figure] for run in runs], _share)
            for figure in ("recall@1", "map@r")
        ]
        cost = ["–"] * 3
        if METHODS[method].recipe is not None:
            seen = statistics.mean(run["pictures_seen"] for run in runs)
            speed = statistics.mean(run["pictures_seen"] / run["seconds"] for run in runs)
            seconds = _spread([run["seconds"] for run in runs], lambda value: f"{value:,.0f}")
            cost = [f"{seen:,.0f}", seconds, f"{speed:.0f}"]
        lines.append(f"| {' | '.join([METHODS[method].title, *quality, *cost])} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], shown: Callable[[float], str]) -> str:
    mean = shown(statistics.mean(values))
    return f"{mean} ± {shown(statistics.stdev(values))}" if len(values) > 1 else mean


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def named_catalogue(text: str) -> tuple[str, list[Path]]:
    """``NAME=TRAIN.json,TEST.json,FOLDER``."""
    name, _, files = text.partition("=")
    paths = [Path(file).absolute() for file in files.split(",")]
    if not name or len(paths) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=train.json,test.json,image_dir")
    return name, paths


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--catalogue",
        dest="catalogues",
        type=named_catalogue,
        action="append",
        required=True,
        metavar="NAME=train.json,test.json,image_dir",
        help="may be given several times",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="Keras' file of MobileNet 1.0's ImageNet weights, without its classifier",
    )
    parser.add_argument(
        "--pictures-seen",
        type=int,
        default=10_240,
        help="training pictures, repetitions counted; rounded to whole epochs of siamese train",
    )
    parser.add_argument("--picture-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work-dir", type=Path, default=Path("quality"))
    parser.add_argument(
        "--python", default=sys.executable, help="Python 3.11 for the peers' environments"
    )
    given = parser.parse_args()
    given.only = [method for method in METHODS if method in given.only]
    given.work_dir, given.weights = given.work_dir.absolute(), given.weights.absolute()
    return given


def main() -> None:
    """Run what is not done yet, and print the tables."""
    given = _arguments()
    failures: list[str] = []
    with report_errors():
        if not given.weights.is_file():
            raise InputError(f"{given.weights}: no such file; give MobileNet's as --weights")
        for name, files in given.catalogues:
            benchmark = prepare(name, files, given, given.picture_size)
            results: dict[str, list[dict[str, Any]]] = {method: [] for method in given.only}
            for seed in given.seeds:
                for method in given.only:
                    try:
                        results[method].append(benchmark.run(method, seed))
                    except InputError as error:
                        failures += [
                            f"{name}: {method}, seed {seed}: {line}" for line in error.lines
                        ]
                        print(f"error: {failures[-1]}", file=sys.stderr)
            print(f"\n### {name}\n")
            print(table({method: runs for method, runs in results.items() if runs}))
        if failures:
            raise InputError(failures)


if __name__ == "__main__":
    main()
