"""Measure how long a catalogue of a million pictures takes to read, check, split and write.

    python benchmarks/catalogue.py [--pictures N] [--on-disk N]

The quick check is measured twice: with all pictures missing, and with `--on-disk` files of one
byte.
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
PICTURES_PER_ITEM = 4


def write_catalogue(path: Path, pictures: int) -> Path:
    """Write labelled data with a number of pictures, without the pictures themselves."""
    labeled_data = {
        f"item-{i:07}": {
            "images": [
                {"filename": f"item-{i:07}/picture_{j}.jpg"} for j in range(PICTURES_PER_ITEM)
            ],
            "labels": [f"label {i % 100}"],
        }
        for i in range(pictures // PICTURES_PER_ITEM)
    }
    path.write_text(json.dumps(labeled_data))
    return path


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1_000_000, help="pictures of the catalogue")
    parser.add_argument("--on-disk", type=int, default=100_000, help="pictures that exist as files")
    arguments = parser.parse_args()

    table = Table("step", "pictures", "seconds", "pictures/s")
    for column in table.columns[1:]:
        column.justify = "right"

    def measure(step: str, pictures: int, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        table.add_row(step, f"{pictures:,}", f"{seconds:.2f}", f"{pictures / seconds:,.0f}")
        return result

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, pictures = (
            write_catalogue(folder / "items.json", arguments.pictures),
            arguments.pictures,
        )
        catalogue = measure("read and check", pictures, lambda: Catalogue.read(path))
        measure("list the pictures", pictures, lambda: catalogue.pictures)
        measure("quick check, all missing", pictures, lambda: quick_check(catalogue))
        train, _ = measure("split", pictures, catalogue.split)
        measure("write the train part", pictures, lambda: train.write(folder / "train.json"))

        on_disk = Catalogue.read(write_catalogue(folder / "on_disk.json", arguments.on_disk))
        for picture in on_disk.pictures:
            file = on_disk.path_of(picture)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b".")
        measure("quick check, none missing", arguments.on_disk, lambda: quick_check(on_disk))
    Console().print(table)


if __name__ == "__main__":
    main()
