#!/usr/bin/env python
"""Export a model or an index: the two jobs of a container, in one command.

    python utilities.py --export savedmodel [--keras-model checkpoints/x.hdf5]
    python utilities.py --export balltree --labeled-data items.json --image-dir photos

faiss and milvus stand in the place of balltree where it is too slow for so many pictures. The same
as `siamese export savedmodel` and `siamese index`.
"""

from __future__ import annotations

from pathlib import Path

import click

from siamese.cli.export import print_export
from siamese.cli.index import print_indexed
from siamese.cli.loading import embedder, keras_at_work, model_at_work, read
from siamese.cli.options import FolderType
from siamese.cli.output import clear_errors, exit_if_skipped
from siamese.data.remote_files import Folder
from siamese.errors import InputError
from siamese.utils.files import require_writable


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--export",
    type=click.Choice(["savedmodel", "balltree", "faiss", "milvus"]),
    required=True,
    help="For TensorFlow Serving, or a search index of that engine.",
)
@click.option(
    "--keras-model",
    type=click.Path(path_type=Path),
    help="Checkpoint (.hdf5, .h5, .keras).  [default: Google's pretrained ImageNet model]",
)
@click.option(
    "--labeled-data", type=click.Path(path_type=Path), help="Indexes: JSON file of the items."
)
@click.option("--image-dir", type=FolderType(), help="Indexes: folder or URL of the pictures.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Pictures at once."
)
@click.option(
    "--output",
    help="Where to write.  [default: the next version in savedmodels/embedding_model; "
    "search_index.pkl, .faiss or .milvus]",
)
def main(
    export: str,
    keras_model: Path | None,
    labeled_data: Path | None,
    image_dir: Folder | None,
    batch_size: int,
    output: str | None,
) -> None:
    """Export a trained or the pretrained model, or a search index made with it.

    Exit codes: 0 done, 2 the input or the call is wrong, 3 done but some pictures were skipped.
    Stopped, or are there more pictures now? The same command embeds only what is new.
    """
    with clear_errors():
        if export == "savedmodel":
            from siamese.embedding.savedmodel import SAVED_MODELS, export_savedmodel

            folder = Path(output) if output else SAVED_MODELS
            require_writable(folder / "next")
            with keras_at_work():
                exported = export_savedmodel(embedder(keras_model), folder)
            print_export(exported)
        else:
            if labeled_data is None:
                raise InputError(
                    f"--export {export} needs --labeled-data, the JSON file of the items"
                )
            from siamese.indexes.build import index_catalogue, prepare_index

            catalogue = read(labeled_data, image_dir)
            prepare_index(output, export)
            with model_at_work():
                done = index_catalogue(
                    embedder(keras_model), catalogue, output, backend=export, batch_size=batch_size
                )
            print_indexed(done)
            exit_if_skipped(done.skipped)


if __name__ == "__main__":
    main()
