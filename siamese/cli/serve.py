"""The verb that serves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context
from siamese.cli.options import embedding_options, index_options
from siamese.errors import InputError
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.search.searcher import Searcher


@click.command()
@index_options
@embedding_options
@click.option(
    "--image-dir", type=click.Path(path_type=Path), help="Folder of the indexed pictures, to show."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port."
)
@click.option(
    "--tf-serving",
    metavar="ADDRESS",
    help="Let TensorFlow Serving embed: HOST:PORT (gRPC) or http://HOST:PORT (REST).",
)
@click.option(
    "--tf-serving-model",
    default="embedding_model",
    show_default=True,
    help="What TensorFlow Serving calls the model.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="Keys that clients must give, a line each.  [default: SIAMESE_API_KEY, if set]",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    help="Site whose pages may ask, https://shop.example; may be repeated.",
)
@click.option(
    "--max-upload",
    type=click.FloatRange(0, 1000, min_open=True),
    default=20.0,
    show_default=True,
    help="Megabytes of a request's pictures.",
)
@click.option(
    "--max-pixels",
    type=click.FloatRange(0, 100, min_open=True),
    default=50.0,
    show_default=True,
    help="Megapixels of a picture.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    show_default=True,
    help="Time a request may take.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Requests at once; more are told to come again.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"], case_sensitive=False),
    default=["JPEG", "PNG", "WEBP", "AVIF"],
    show_default=True,
    help="Format of uploads; may be repeated.",
)
@click.option(
    "--watch-seconds",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="How often to look for a new index; 0 for never.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="From SIGTERM until nothing new is taken.",
)
def serve(
    index_place: str,
    collection: str,
    image_dir: Path | None,
    host: str,
    port: int,
    tf_serving: str | None,
    tf_serving_model: str,
    api_key_file: Path | None,
    cors_origins: tuple[str, ...],
    max_upload: float,
    max_pixels: float,
    max_seconds: float,
    max_in_flight: int,
    formats: tuple[str, ...],
    watch_seconds: float,
    drain_seconds: float,
    **model: Any,
) -> None:
    """Serve an index: a page to search with, and an API.

    The model is the one that the index records, also where both have moved; another is refused.
    SIGTERM ends it with every accepted request answered.
    """
    from siamese.server.settings import Limits, Settings, read_api_keys

    if image_dir is not None and not image_dir.is_dir():
        raise InputError(f"--image-dir {image_dir}: no such folder")
    settings = Settings(
        image_dir=image_dir,
        api_keys=read_api_keys(api_key_file),
        cors_origins=cors_origins,
        limits=Limits(
            upload_bytes=round(max_upload * 1e6),
            pixels=round(max_pixels * 1e6),
            seconds=max_seconds,
            in_flight=max_in_flight,
            formats=formats,
        ),
        watch_seconds=watch_seconds,
        drain_seconds=drain_seconds,
    )
    given = [name for name, value in model.items() if value not in (None, "auto")]
    if tf_serving is not None and given:
        raise InputError(
            f"--{given[0].replace('_', '-')} and --tf-serving: one model embeds; leave one out"
        )
    from siamese.indexes import open_index
    from siamese.server.run import bind_socket, format_url, serve

    listener = bind_socket(host, port)

    def load(before: Searcher | None) -> Searcher:
        from siamese.indexes.model_path import find_moved_checkpoint
        from siamese.search.searcher import Searcher

        opened = open_index(index_place, collection)
        if before is not None and opened.model == before.index.model:
            return Searcher(before.embedder, opened)
        if tf_serving is not None:
            from siamese.server.tf_serving import TFServing

            served: Any = TFServing(tf_serving, tf_serving_model, opened)
            return Searcher(served, opened)
        recorded = find_moved_checkpoint(opened.model, index_place)
        return Searcher(load_embedder(**model, recorded=recorded), opened)

    with model_context():
        from siamese.server.service import Service

        service = Service(load, index_place, settings, collection)
    served = service.current
    pictures = pluralize(served.pictures, "picture")
    click.echo(f"{format_url(listener)}: {pictures} of {served.searcher.index.name}")
    sys.exit(serve(service, listener))
