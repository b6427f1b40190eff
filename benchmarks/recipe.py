r"""Measure how each option of `siamese train` changes MAP@R, one option at a time.

Each run is `siamese train` with one option changed and then `siamese evaluate` on the test items::

    python benchmarks/recipe.py --picture-size 128 --epochs 3 \
        --catalogue emoji=emoji/train.json,emoji/test.json,emoji --only default flip

It prints a Markdown table of the MAP@R on the test items and the difference from the default, as
mean ± standard deviation over the seeds. Runs with the same seed hold out the same items. Finished
runs are cached in the work folder, so the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from quality import parse_catalogue

from siamese.cli.output import report_errors
from siamese.errors import InputError
from siamese.utils.files import atomic_path

ROOT = Path(__file__).resolve().parent.parent

CHOICES: dict[str, tuple[str, ...]] = {
    "default": (),
    "no-augmentation": ("--no-augmentation",),
    "flip": ("--flip",),
    "triplet": ("--loss", "triplet"),
    "triplet-hard": ("--loss", "triplet-hard"),
    "random-pairs": ("--sampling", "random-pairs"),
    "batch-64": ("--batch-size", "64"),
    "2-pictures-per-item": ("--pictures-per-item", "2"),
    "8-pictures-per-item": ("--pictures-per-item", "8"),
    "label-balanced": ("--batches", "label-balanced"),
    "hard-items": ("--batches", "hard-items"),
    "memory": ("--memory", "1024"),
    "projection-256": ("--embedding-size", "256"),
    "pooling-gem": ("--pooling", "gem"),
    "half-rate": ("--learning-rate", "1.5e-4"),
    "double-rate": ("--learning-rate", "6e-4"),
}
"""Flags of `siamese train` for each row of the table, by its name for `--only`."""


def measure(
    choice: str, seed: int, name: str, files: Sequence[Path], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Train and evaluate one choice, or read the result of an earlier run.

    Parameters
    ----------
    choice : str
        Key of `CHOICES`.
    seed : int
        Seed of the training.
    name : str
        Name of the catalogue.
    files : sequence of Path
        JSON file of the training items, JSON file of the test items and folder of the pictures.
    arguments : argparse.Namespace
        Arguments of the command line.

    Returns
    -------
    dict
        ``figures`` of the test items; ``held_out``, the best MAP@R of the held-out items; and
        ``seconds`` of the training.

    Raises
    ------
    InputError
        If a command fails.
    """
    train, test, image_dir = files
    settings = f"{arguments.backbone}-{arguments.picture_size}px-{arguments.epochs}"
    folder = arguments.work_dir / name / settings / choice / f"seed-{seed}"
    result = folder / "result.json"
    if result.is_file():
        return json.loads(result.read_text())
    print(f"{name}: {choice}, seed {seed} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoints = folder / "checkpoints"
    flags = ["--backbone", arguments.backbone, "--picture-size", arguments.picture_size]
    flags += ["--epochs", arguments.epochs, "--seed", seed, "--output", checkpoints]
    if arguments.weights is not None:
        flags += ["--weights", arguments.weights]
    training = run_siamese(
        ["train", *flags, *CHOICES[choice], "--labeled-data", train, "--image-dir", image_dir],
        folder / "log.txt",
    )
    model = checkpoints / "final_model.hdf5"
    flags = ["--keras-model", model, "--labeled-data", test, "--image-dir", image_dir]
    evaluation = run_siamese(["evaluate", *flags], folder / "log.txt")
    shutil.rmtree(checkpoints)
    measurement = {
        "figures": evaluation["figures"],
        "held_out": max(epoch.get("val_map@r", 0.0) for epoch in training["history"]),
        "seconds": training["seconds"],
    }
    with atomic_path(result) as temporary:
        temporary.write_text(json.dumps(measurement, indent=1))
    return measurement


def run_siamese(arguments: Sequence[object], log: Path) -> dict[str, Any]:
    """Run a `siamese` command, append its standard error to a log and return its JSON output.

    Raises
    ------
    InputError
        If the command fails. The message names the log and quotes its last line.
    """
    with log.open("a") as file:
        process = subprocess.run(
            [sys.executable, "-m", "siamese", *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    if process.returncode not in (0, 3):  # 3: some pictures were skipped
        raise InputError(f"{log}: {(log.read_text().strip().splitlines() or ['no output'])[-1]}")
    return json.loads(process.stdout)


def format_table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Format the runs of all seeds, ``results[catalogue][choice]``, as a Markdown table."""
    heads = [f"{name} {column}" for name in results for column in ("MAP@R", "difference")]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for choice in next(iter(results.values())):
        cells = []
        for runs in results.values():
            values = [run["figures"]["map@r"] for run in runs[choice]]
            defaults = [run["figures"]["map@r"] for run in runs["default"]]
            differences = [value - default for value, default in zip(values, defaults, strict=True)]
            cells.append(format_spread(values, ".3f"))
            cells.append("–" if choice == "default" else format_spread(differences, "+.3f"))
        flags = f"`{' '.join(CHOICES[choice])}`" if CHOICES[choice] else "**default**"
        lines.append(f"| {flags} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_spread(values: Sequence[float], number_format: str) -> str:
    """Format mean ± standard deviation, without the 0 before the decimal point."""
    deviation = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):{number_format}}{deviation}".replace("0.", ".")


def main() -> None:
    """Run the missing measurements and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--catalogue", dest="catalogues", type=parse_catalogue, action="append", required=True
    )
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--picture-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--work-dir", type=Path, default=Path("recipe-benchmark"))
    arguments = parser.parse_args()
    choices = list(dict.fromkeys(["default", *arguments.only]))
    with report_errors():
        results = {
            name: {
                choice: [measure(choice, seed, name, files, arguments) for seed in arguments.seeds]
                for choice in choices
            }
            for name, files in arguments.catalogues
        }
    print(
        f"{arguments.backbone}, {arguments.picture_size} px, {arguments.epochs} epochs, "
        f"seeds {', '.join(map(str, arguments.seeds))}\n\n{format_table(results)}"
    )


if __name__ == "__main__":
    main()
