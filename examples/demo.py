"""The whole way on real pictures: train, export, index, search, and look at what it brought.

    python -m examples.demo

The pictures are emoji as six vendors draw them (see `examples.emoji_catalogue`). Training sees
seven tenths of the emoji; all figures are of the others, which it never saw. Every step is a
`siamese` command that works the same on a catalogue of your own.
"""

from __future__ import annotations

import os
import shlex
import sys
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
"""Small pictures and few epochs: minutes on two cores."""

YOUR_OWN = """\
siamese from-folder /my/photos --output items.json    # a folder an item; or write the JSON yourself
siamese check --labeled-data items.json --image-dir /my/photos
siamese split --labeled-data items.json --image-dir /my/photos
siamese train --labeled-data train.json --image-dir /my/photos
model="--keras-model checkpoints/final_model.hdf5"
siamese report --labeled-data test.json --image-dir /my/photos $model
siamese index --labeled-data items.json --image-dir /my/photos $model
siamese search --index search_index.pkl --image-dir /my/photos --output results.html photo.jpg
"""


def main() -> None:
    """Run the demo from the folder of the project."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    started = time.monotonic()
    with report_errors():
        items = fetch_emoji_catalogue(EMOJI)
    write_picture(draw_collage(Catalogue.read(items)), "demo/emoji.png")
    print("What the data looks like: demo/emoji.png")
    siamese("check", "--labeled-data", items)
    siamese("split", "--labeled-data", items)
    train, test = EMOJI / "train.json", EMOJI / "test.json"

    # A demo that was stopped goes on; one that has ended has nothing left to train.
    resume = ["--resume"] if (CHECKPOINTS / "training_state.hdf5").is_file() else []
    siamese("train", "--labeled-data", train, "--output", CHECKPOINTS, *RECIPE, *resume)
    model = ("--keras-model", MODEL)
    siamese("export", "savedmodel", *model, "--output", "demo/savedmodels/embedding_model")
    index = ("--output", "demo/search_index.pkl")
    siamese("index", "--labeled-data", test, *model, *index)
    seen = Catalogue.read(test)
    queries = [seen.path_of(picture) for picture in seen.pictures[:: len(seen.pictures) // 3]]
    search = ("--index", "demo/search_index.pkl", "-k", "6", "--image-dir", EMOJI)
    siamese("search", *search, "--output", "demo/results.html", *map(str, queries))
    siamese("report", "--labeled-data", test, *model, "--output", "demo")

    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Look at")
    for path, what in (
        ("demo/report.html", "what training brought: figures, curves, neighbours before and after"),
        ("demo/neighbours.png", "the neighbours alone: green of the same emoji, red of another"),
        ("demo/results.html", "a few searches"),
        ("demo/metrics.json", "the figures"),
    ):
        print(f"  {path:<22}{what}")
    print(f"\nThe same with photos of your own:\n\n{YOUR_OWN}")


def siamese(*words: str | Path) -> None:
    """Show a `siamese` command and run it; where it fails, so does the demo."""
    line = [str(word) for word in words]
    print(f"\n$ siamese {shlex.join(line)}", flush=True)
    try:
        cli(line, prog_name="siamese")
    except SystemExit as end:
        if end.code:
            sys.exit(end.code)


if __name__ == "__main__":
    main()
