"""How long a catalogue of a million pictures takes to parse, check, split and write.

Run it as ``python benchmarks/catalogue.py [--pictures N] [--on-disk N]``. The quick check is
measured twice: with no picture there, and with as many files of one byte as `--on-disk` says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from siamese.data.catalogue import Catalogue
from siamese.data.check import quick_check

T = TypeVar("T")
AN_ITEM = 4


def write_form(path: Path, pictures: int) -> Path:
    """Write a catalogue of so many pictures, which need not exist."""
    form = {
        f"item-{i:07}": {
            "images": [{"filename": f"item-{i:07}/picture_{j}.jpg"} for j in range(AN_ITEM)],
            "labels": [f"label {i % 100}"],
        }
        for i in range(pictures // AN_ITEM)
    }
    path.write_text(json.dumps(form))
    return path


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--on-disk", type=int, default=100_000)
    arguments = parser.parse_args()

    table = Table("step", "pictures", "seconds", "pictures/s")
    for column in table.columns[1:]:
        column.justify = "right"

    def timed(step: str, pictures: int, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        table.add_row(step, f"{pictures:,}", f"{seconds:.2f}", f"{pictures / seconds:,.0f}")
        return result

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, pictures = write_form(folder / "items.json", arguments.pictures), arguments.pictures
        catalogue = timed("read and check the form", pictures, lambda: Catalogue.read(path))
        timed("list the pictures", pictures, lambda: catalogue.pictures)
        timed("quick check, all missing", pictures, lambda: quick_check(catalogue))
        train, _ = timed("split", pictures, catalogue.split)
        timed("write the train part", pictures, lambda: train.write(folder / "train.json"))

        there = Catalogue.read(write_form(folder / "there.json", arguments.on_disk))
        for picture in there.pictures:
            file = there.path_of(picture)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b".")
        timed("quick check, all there", arguments.on_disk, lambda: quick_check(there))
    Console().print(table)


if __name__ == "__main__":
    main()
