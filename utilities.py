#!/usr/bin/env python
"""Export a model or a search index, with one command for scripts and containers.

    python utilities.py --export savedmodel [--keras-model checkpoints/final_model.hdf5]
    python utilities.py --export balltree --labeled-data items.json --image-dir photos

The same as `siamese export savedmodel` and `siamese index --backend balltree`.
"""

from __future__ import annotations

from pathlib import Path

import click

from siamese.cli.export import export as export_command
from siamese.cli.index import index as index_command
from siamese.cli.options import PATH, batch_size_option, image_dir_option, keras_model_option
from siamese.cli.output import report_errors
from siamese.data.remote_files import Folder
from siamese.errors import InputError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--export",
    type=click.Choice(["savedmodel", "balltree", "faiss", "milvus"]),
    required=True,
    help="A SavedModel for TensorFlow Serving, or a search index for one of the three backends.",
)
@keras_model_option
@click.option(
    "--labeled-data",
    type=PATH,
    help="JSON file that lists the items with their pictures and labels; required for an index.",
)
@image_dir_option
@batch_size_option
@click.option(
    "--output",
    help="Where to write.  [default: the next version in savedmodels/embedding_model; "
    "search_index.pkl, .faiss or .milvus]",
)
@click.pass_context
def main(
    context: click.Context,
    export: str,
    keras_model: Path | None,
    labeled_data: Path | None,
    image_dir: Folder | None,
    batch_size: int,
    output: str | None,
) -> None:
    """Export a trained or a pretrained model, or a search index of a catalogue.

    Run an interrupted export again to continue it. Run it after adding pictures to embed only
    the new ones.

    Exit codes: 0 success, 2 invalid input or usage, 3 success but some pictures were skipped.
    """
    with report_errors():
        if export == "savedmodel":
            context.invoke(
                export_command,
                what=export,
                keras_model=keras_model,
                output=Path(output) if output else None,
            )
            return
        if labeled_data is None:
            raise InputError(f"--export {export} needs --labeled-data, the JSON file of the items")
        context.invoke(
            index_command,
            backend=export,
            keras_model=keras_model,
            labeled_data=labeled_data,
            image_dir=image_dir,
            batch_size=batch_size,
            output=output,
        )


if __name__ == "__main__":
    main()
