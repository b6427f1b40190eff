"""Train, export, index, search and evaluate, from start to end on real pictures.

    python -m examples.demo

The pictures are emoji as drawn by six vendors (see `examples.emoji_catalogue`). The model is
trained on 70 % of the emoji and evaluated on the others. Every step is a `siamese` command that
you can run on your own catalogue.
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from examples.emoji_catalogue import fetch_emoji_catalogue
from siamese.cli.main import cli
from siamese.cli.output import report_errors
from siamese.data.catalogue import Catalogue
from siamese.reports import draw_collage, write_picture

EMOJI = Path("demo/emoji")
CHECKPOINTS = Path("demo/checkpoints")
MODEL = CHECKPOINTS / "final_model.hdf5"
RECIPE = ("--picture-size", "128", "--epochs", "3")
"""Small pictures and few epochs, to train in a few minutes on two cores."""

OWN_PHOTOS = """\
siamese from-folder /my/photos --output items.json    # needs one folder per item
siamese check --labeled-data items.json --image-dir /my/photos
siamese split --labeled-data items.json --image-dir /my/photos
siamese train --labeled-data train.json --image-dir /my/photos
model="--keras-model checkpoints/final_model.hdf5"
siamese report --labeled-data test.json --image-dir /my/photos $model
siamese index --labeled-data items.json --image-dir /my/photos $model
siamese search --index search_index.pkl --image-dir /my/photos --output results.html photo.jpg
"""


def main() -> None:
    """Run the demo in the folder of the project."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    started = time.monotonic()
    with report_errors():
        items = fetch_emoji_catalogue(EMOJI)
    write_picture(draw_collage(Catalogue.read(items)), "demo/emoji.png")
    print("Some of the pictures: demo/emoji.png")
    siamese("check", "--labeled-data", items)
    siamese("split", "--labeled-data", items)
    train, test = EMOJI / "train.json", EMOJI / "test.json"

    # Continue an interrupted demo; if training is complete, this trains nothing.
    resume = ["--resume"] if (CHECKPOINTS / "training_state.hdf5").is_file() else []
    siamese("train", "--labeled-data", train, "--output", CHECKPOINTS, *RECIPE, *resume)
    model = ("--keras-model", MODEL)
    siamese("export", "savedmodel", *model, "--output", "demo/savedmodels/embedding_model")
    index = ("--output", "demo/search_index.pkl")
    siamese("index", "--labeled-data", test, *model, *index)
    indexed = Catalogue.read(test)
    pictures = indexed.pictures[:: len(indexed.pictures) // 3]
    queries = [str(indexed.path_of(picture)) for picture in pictures]
    search = ("--index", "demo/search_index.pkl", "-k", "6", "--image-dir", EMOJI)
    siamese("search", *search, "--output", "demo/results.html", *queries)
    siamese("report", "--labeled-data", test, *model, "--output", "demo")

    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. See")
    for path, content in (
        ("demo/report.html", "metrics, training curves and neighbours before and after training"),
        ("demo/neighbours.png", "only the neighbours: green is the same emoji, red is another"),
        ("demo/results.html", "the results of a few searches"),
        ("demo/metrics.json", "the metrics"),
    ):
        print(f"  {path:<22}{content}")
    print(f"\nTo do the same with your own photos:\n\n{OWN_PHOTOS}")


def siamese(*arguments: str | Path) -> None:
    """Print a `siamese` command and run it; exit if it fails."""
    command = [str(argument) for argument in arguments]
    print(f"\n$ siamese {shlex.join(command)}", flush=True)
    try:
        cli(command, prog_name="siamese")
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
