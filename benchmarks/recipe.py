"""Behind each default of `siamese train`: what its alternatives bring, on the same items and seeds.

    python benchmarks/recipe.py --catalogue emoji=train.json,test.json,pictures \\
        --catalogue grocery=train.json,test.json,photos --picture-size 96 --epochs 2

One choice at a time is changed, all else is default. Each run is `siamese train` and then
`siamese evaluate` on the test items, each in a process of its own. The rows show MAP@R as mean ±
standard deviation over the seeds, and the mean difference to the default of the same seed, which
holds out the same items and draws the same batches: ± is then of the differences.

Finished runs stay in `--work-dir`, so that the same command goes on after it was stopped; `--only
NAME …` measures some rows, by the names of `CHOICES`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from quality import named_catalogue

from siamese.cli.output import report_errors
from siamese.errors import InputError
from siamese.utils.files import atomic_path

ROOT = Path(__file__).resolve().parent.parent

CHOICES: dict[str, tuple[str, ...]] = {
    "default": (),
    "no-augmentation": ("--no-augmentation",),
    "flip": ("--flip",),
    "contrastive": ("--loss", "contrastive"),
    "triplet": ("--loss", "triplet"),
    "triplet-hard": ("--loss", "triplet-hard"),
    "batch-64": ("--batch-size", "64"),
    "2-pictures-an-item": ("--pictures-per-item", "2"),
    "8-pictures-an-item": ("--pictures-per-item", "8"),
    "label-balanced": ("--batches", "label-balanced"),
    "hard-items": ("--batches", "hard-items"),
    "memory": ("--memory", "1024"),
    "projection-256": ("--embedding-size", "256"),
    "pooling-gem": ("--pooling", "gem"),
    "half-rate": ("--learning-rate", "1.5e-4"),
    "double-rate": ("--learning-rate", "6e-4"),
    "random-pairs": ("--sampling", "random-pairs"),
}
"""Flags of `siamese train` by the name of a row."""


def run(choice: str, seed: int, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train and measure once, or read what an earlier run has left.

    Returns
    -------
    `figures` of the test items, `held_out` the best MAP@R on the held-out ones, `seconds`

    Raises
    ------
    InputError
        The run failed; its log is named.
    """
    train, test, image_dir = given.catalogue[name]
    kind = f"{given.backbone}-{given.picture_size}px-{given.epochs}"
    folder = given.work_dir / name / kind / choice / f"seed-{seed}"
    result = folder / "result.json"
    if result.is_file():
        return json.loads(result.read_text())
    print(f"{name}: {choice}, seed {seed} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoints = folder / "checkpoints"
    words = ["--backbone", given.backbone, "--picture-size", given.picture_size]
    words += ["--epochs", given.epochs, *CHOICES[choice], "--seed", seed, "--output", checkpoints]
    if given.weights is not None:
        words += ["--weights", given.weights]
    trained = siamese(["train", *words], train, image_dir, folder / "log.txt")
    words = ["evaluate", "--keras-model", checkpoints / "final_model.hdf5"]
    measured = siamese(words, test, image_dir, folder / "log.txt")
    shutil.rmtree(checkpoints)
    facts = {
        "figures": measured["figures"],
        "held_out": max(epoch.get("val_map@r", 0.0) for epoch in trained["history"]),
        "seconds": trained["seconds"],
    }
    with atomic_path(result) as temporary:
        temporary.write_text(json.dumps(facts, indent=1))
    return facts


def siamese(words: list[Any], listed: Path, image_dir: Path, log: Path) -> Any:
    """The JSON document that a verb prints."""
    call = [sys.executable, "-m", "siamese", *words, "--labeled-data", listed]
    call += ["--image-dir", image_dir, "--json"]
    with log.open("a") as file:
        done = subprocess.run(
            [str(word) for word in call],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    if done.returncode not in (0, 3):  # 3: some pictures were skipped
        raise InputError(f"{log}: {(log.read_text().strip().splitlines() or ['no output'])[-1]}")
    return json.loads(done.stdout)


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The runs as Markdown; `results[catalogue][choice]` are those of the seeds, in their order."""
    heads = [f"{name} {what}" for name in results for what in ("MAP@R", "to the default")]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for choice in next(iter(results.values())):
        cells = []
        for of in results.values():
            values = [run["figures"]["map@r"] for run in of[choice]]
            base = [run["figures"]["map@r"] for run in of["default"]]
            cells.append(spread(values, ".3f"))
            gains = [one - other for one, other in zip(values, base, strict=True)]
            cells.append("–" if choice == "default" else spread(gains, "+.3f"))
        flags = f"`{' '.join(CHOICES[choice])}`" if CHOICES[choice] else "**default**"
        lines.append(f"| {flags} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """Mean ± standard deviation."""
    deviation = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{deviation}".replace("0.", ".")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=named_catalogue, action="append", required=True)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--picture-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--work-dir", type=Path, default=Path("recipe-benchmark"))
    given = parser.parse_args()
    given.catalogue = dict(given.catalogue)
    choices = list(dict.fromkeys(["default", *given.only]))
    with report_errors():
        results = {
            name: {
                choice: [run(choice, seed, name, given) for seed in given.seeds]
                for choice in choices
            }
            for name in given.catalogue
        }
    print(
        f"{given.backbone}, {given.picture_size} px, {given.epochs} epochs, "
        f"{len(given.seeds)} seeds\n\n{table(results)}"
    )


if __name__ == "__main__":
    main()
