"""Options that several commands share; an option means the same in each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from siamese.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class FolderType(click.ParamType[Any]):
    """Local folder or URL."""

    name = "path or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from siamese.data.remote_files import as_folder

        return as_folder(value)


def format_examples(*commands: str) -> str:
    """Return the epilog of a help text that shows example commands."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {command}" for command in commands)


def combine_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds several options, which --help lists in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


image_dir_option = click.option(
    "--image-dir",
    type=FolderType(),
    help="Folder or URL that the filenames are relative to.  [default: the JSON file's folder]",
)

labeled_data_options = combine_options(
    click.option(
        "--labeled-data",
        type=PATH,
        required=True,
        help="JSON file that lists the items with their pictures and labels.",
    ),
    image_dir_option,
)

keras_model_option = click.option(
    "--keras-model",
    type=PATH,
    help="Checkpoint of a trained model (.hdf5, .h5 or .keras).  [default: a pretrained model]",
)


def _make_backbone_options(backbones: str, default_size: str) -> Callable[[F], F]:
    return combine_options(
        click.option("--backbone", help=f"{backbones}.  [default: EfficientNetLite0]"),
        click.option(
            "--picture-size",
            type=click.IntRange(16, 2048),
            help=f"Side length of the pretrained model's input in pixels.  [default: {default_size}]",
        ),
        click.option(
            "--weights",
            help="Weights file of the backbone, without its classifier.  "
            "[default: ImageNet weights]",
        ),
    )


_backbone_options = _make_backbone_options(
    "Name of a pretrained model in keras.applications", default_size="224"
)

_runtime_options = combine_options(
    click.option(
        "--runtime",
        type=click.Choice(["auto", "openvino", "tensorflow"]),
        default="auto",
        show_default=True,
        help="Library that runs the model; auto chooses TensorFlow on a GPU, OpenVINO on a CPU.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Number format; auto chooses the fastest that leaves the vectors nearly unchanged.",
    ),
)

model_options = combine_options(keras_model_option, _backbone_options)

training_model_options = combine_options(
    keras_model_option,
    _make_backbone_options(
        "Name of a pretrained model in keras.applications, or base_cnn for a small untrained one",
        default_size="160; 224 with --layers head",
    ),
)

embedding_options = combine_options(model_options, _runtime_options)

query_embedding_options = combine_options(
    click.option(
        "--keras-model",
        type=PATH,
        help="Checkpoint of the model that the index was built with, if it has been moved.",
    ),
    _backbone_options,
    _runtime_options,
)


class _ExecutorOption(click.Option):
    """`--executor`, which also accepts its former name `--engine`."""

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


executor_options = combine_options(
    click.option(
        "--executor",
        "executor_name",
        cls=_ExecutorOption,
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        is_eager=True,  # parsed before --ray-address
        callback=_require_executor,
        help="Where to embed the catalogue: in this process or on a Ray cluster.",
    ),
    click.option(
        "--ray-address",
        callback=_require_ray,
        help="Address of the Ray cluster, as HOST:6379.  [default: the cluster of this machine, "
        "or a temporary one]",
    ),
)

embeddings_option = click.option(
    "--embeddings",
    type=PATH,
    help="Folder written by `siamese embed`. Its embeddings are reused, missing ones are added.",
)

collection_option = click.option(
    "--collection", default="pictures", show_default=True, help="Name of the Milvus collection."
)

index_options = combine_options(
    click.option(
        "--index",
        "index_place",
        default="search_index.pkl",
        show_default=True,
        help="Index to search: a file, a folder or the address of a Milvus server.",
    ),
    collection_option,
)

batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Number of pictures to embed at once.",
)

seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random number generator.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
