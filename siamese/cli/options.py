"""The flags that several verbs have: the same name means the same in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from siamese.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


output_type = click.Path(path_type=Path)


class FolderType(click.ParamType[Any]):
    """A folder of this machine, or a URL."""

    name = "path or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from siamese.data.remote_files import as_folder

        return as_folder(value)


def labeled_data_options(function: F) -> F:
    """The flags of a verb that reads a catalogue."""
    function = click.option(
        "--image-dir",
        type=FolderType(),
        help="Folder or URL that the filenames are relative to.  [default: the JSON file's folder]",
    )(function)
    return click.option(
        "--labeled-data",
        type=click.Path(path_type=Path),
        required=True,
        help="JSON file: items with their pictures and labels.",
    )(function)


def model_options(function: F) -> F:
    """The flags that say which model."""
    for option in (
        click.option("--weights", help="Weights file of the backbone, without its classifier."),
        click.option("--picture-size", type=click.IntRange(16, 2048), help="Pixels of a side."),
        click.option(
            "--backbone", help="Pretrained model instead of EfficientNetLite0, by its Keras name."
        ),
        click.option(
            "--keras-model",
            type=click.Path(path_type=Path),
            help="Checkpoint (.hdf5, .h5, .keras).  [default: the pretrained model]",
        ),
    ):
        function = option(function)
    return function


def embedding_options(function: F) -> F:
    """The flags of a verb that embeds pictures: which model, and what runs it."""
    for option in (
        click.option(
            "--precision",
            type=click.Choice(["auto", "float32", "bfloat16"]),
            default="auto",
            show_default=True,
            help="What to compute in; auto is the fastest with the same vectors.",
        ),
        click.option(
            "--runtime",
            type=click.Choice(["auto", "openvino", "tensorflow"]),
            default="auto",
            show_default=True,
            help="What runs the model; auto is OpenVINO on a CPU, TensorFlow on a GPU.",
        ),
    ):
        function = option(function)
    return model_options(function)


class _ExecutorOption(click.Option):
    """`--executor`, which also answers to `--engine`, its former name."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, ["--engine"], dest=self.name)


def _require_executor(context: click.Context, option: click.Parameter, name: str) -> str:
    """Fail at once if a package that the executor needs is missing."""
    if name == "ray":
        from siamese.embedding.ray.cluster import require_ray

        require_ray()
    return name


def _require_ray(
    context: click.Context, option: click.Parameter, address: str | None
) -> str | None:
    if address is not None and context.params["executor_name"] != "ray":
        raise InputError("--ray-address: needs --executor ray; give that too")
    return address


def executor_options(function: F) -> F:
    """Add the flags that say where a catalogue is embedded."""
    function = click.option(
        "--ray-address",
        callback=_require_ray,
        help="ray: the cluster, as HOST:6379.  [default: this machine's, or one on it alone]",
    )(function)
    return click.option(
        "--executor",
        "executor_name",
        cls=_ExecutorOption,
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        is_eager=True,  # parsed before --ray-address
        callback=_require_executor,
        help="Where to embed the catalogue: in this process or on a Ray cluster.",
    )(function)


def index_options(function: F) -> F:
    """The flags that say which index."""
    function = collection_option(function)
    return click.option(
        "--index",
        "index_place",
        default="search_index.pkl",
        show_default=True,
        help="File, folder or address of a Milvus server that `siamese index` wrote to.",
    )(function)


embeddings_option = click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    help="Folder of `siamese embed`: what is in it is not embedded again, what is new is added.",
)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Pictures at once."
)


items_output_option = click.option(
    "--output",
    type=output_type,
    default="items.json",
    show_default=True,
    help="JSON file to write.",
)


collection_option = click.option(
    "--collection", default="pictures", show_default=True, help="milvus: name of the collection."
)


seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Another seed, another draw.",
)
