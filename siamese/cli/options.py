"""Command-line options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from siamese.data.remote_files import as_folder
from siamese.errors import InputError

if TYPE_CHECKING:
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def format_examples(*commands: str) -> str:
    """Format example commands as the last section of a command's help text."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {command}" for command in commands)


def combine_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command; --help lists them in the given order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def make_image_dir_option(text: str) -> Callable[[F], F]:
    """Return an --image-dir option, for a local folder or a URL, with the given help text."""
    return click.option("--image-dir", type=as_folder, metavar="PATH OR URL", help=text)


image_dir_option = make_image_dir_option(
    "Folder or URL that the filenames are relative to.  [default: the JSON file's folder]"
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


def _make_backbone_options(other_backbone: str, default_size: str) -> Callable[[F], F]:
    return combine_options(
        click.option(
            "--backbone",
            help=f"Name of a pretrained model in keras.applications{other_backbone}.  "
            "[default: EfficientNetLite0]",
        ),
        click.option(
            "--picture-size",
            type=click.IntRange(16, 2048),
            help=f"Side length of the backbone's input in pixels.  [default: {default_size}]",
        ),
        click.option(
            "--weights",
            help="Weights file of the backbone, without its classifier.  [default: ImageNet]",
        ),
    )


_backbone_options = _make_backbone_options("", "224")

model_options = combine_options(keras_model_option, _backbone_options)

training_model_options = combine_options(
    keras_model_option,
    _make_backbone_options(
        ", or base_cnn for a small untrained one", "160; 224 with --layers head"
    ),
)

_runtime_options = combine_options(
    click.option(
        "--runtime",
        type=click.Choice(["auto", "openvino", "tensorflow"]),
        default="auto",
        help="Library that runs the model; auto chooses TensorFlow on a GPU, OpenVINO on a CPU.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        help="Number format; auto chooses the fastest that leaves the vectors nearly unchanged.",
    ),
)

collection_option = click.option(
    "--collection", default="pictures", help="Name of the Milvus collection."
)

index_options = combine_options(
    click.option(
        "--index",
        "index_place",
        default="search_index.pkl",
        help="Index to search: a file, a folder or the address of a Milvus server.",
    ),
    collection_option,
    click.option(
        "--keras-model",
        type=PATH,
        help="Checkpoint of the model that the index was built with, if it has been moved.",
    ),
    _backbone_options,
    _runtime_options,
)
"""Options for commands that open an index and embed queries."""


class _ExecutorOption(click.Option):
    """Option `--executor`, which can also be given by its former name, `--engine`."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, ["--engine"], dest=self.name)


def _create_executor(
    context: click.Context, option: click.Parameter, name: str | None
) -> Executor | None:
    """Return the named executor, or None for the default executor, which runs in this process."""
    address = context.meta.get("ray_address")
    if name == "ray":
        from siamese.embedding.ray.executor import RayExecutor

        return RayExecutor(address)
    if address is not None:
        raise InputError("--ray-address: needs --executor ray; give that too")
    return None


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)

batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1), default=32, help="Number of pictures to embed at once."
)

embedding_options = combine_options(
    labeled_data_options,
    model_options,
    _runtime_options,
    click.option(
        "--executor",
        cls=_ExecutorOption,
        type=click.Choice(["local", "ray"]),
        callback=_create_executor,
        help="Where to embed: in this process or on a Ray cluster.  [default: local]",
    ),
    click.option(
        "--ray-address",
        is_eager=True,  # parsed before --executor, which reads it from `Context.meta`
        expose_value=False,
        callback=lambda context, _, address: context.meta.update(ray_address=address),
        help="Address of the Ray cluster, as HOST:6379.  [default: the cluster of this machine, "
        "or a temporary one]",
    ),
    batch_size_option,
    json_option,
)
"""Options for commands that embed a catalogue."""


def _open_store(folder: str) -> EmbeddingStore:
    from siamese.embedding.store import EmbeddingStore

    return EmbeddingStore(folder)


store_option = click.option(
    "--embeddings",
    "store",
    type=_open_store,
    metavar="PATH",
    help="Folder written by `siamese embed`; its embeddings are reused and missing ones added.",
)

seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, help="Seed of the random number generator."
)
