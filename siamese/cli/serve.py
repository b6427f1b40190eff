"""The serve command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_index_embedder, model_context
from siamese.cli.options import PATH, format_examples, index_options
from siamese.errors import InputError
from siamese.server.settings import FORMATS, Limits, Settings, read_api_keys
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.search.searcher import Searcher


@click.command(epilog=format_examples("siamese serve --index search_index.pkl --image-dir photos"))
@index_options
@click.option("--image-dir", type=PATH, help="Folder of the indexed pictures, to show in results.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    help="Port to listen on; 0 for any free port.",
)
@click.option(
    "--tf-serving",
    metavar="ADDRESS",
    help="Address of a TensorFlow Serving server that embeds the queries: HOST:PORT for gRPC or "
    "http://HOST:PORT for REST.",
)
@click.option(
    "--tf-serving-model", default="embedding_model", help="Name of the model in TensorFlow Serving."
)
@click.option(
    "--api-key-file",
    type=PATH,
    help="File with the API keys of clients, one per line.  [default: the environment variable "
    "SIAMESE_API_KEY, if set]",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    help="Website that may use the API from a browser, for example https://shop.example; "
    "repeatable.",
)
@click.option(
    "--max-upload",
    type=click.FloatRange(0, 1000, min_open=True),
    default=20.0,
    help="Maximum total size of the pictures in a request, in megabytes.",
)
@click.option(
    "--max-pixels",
    type=click.FloatRange(0, 100, min_open=True),
    default=50.0,
    help="Maximum size of a picture in megapixels.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    help="Maximum duration of a request in seconds.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1),
    default=64,
    help="Maximum number of simultaneous requests; others get status 503.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"], case_sensitive=False),
    default=FORMATS,
    help="Accepted format of uploads; repeatable.",
)
@click.option(
    "--watch-seconds",
    type=click.FloatRange(0),
    default=2.0,
    help="Seconds between checks for a new index; 0 for no checks.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=1.0,
    help="Seconds after SIGTERM in which new requests are still accepted.",
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
    """Serve a web page and an HTTP API to search an index.

    The default model is the one that the index was built with; other models are rejected. On
    SIGTERM, the server answers all accepted requests before it exits.
    """
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
            f"--{given[0].replace('_', '-')} and --tf-serving: only one model can embed; omit one"
        )
    from siamese.indexes import open_index
    from siamese.server.run import bind_socket, format_url, serve

    def load_searcher(previous: Searcher | None) -> Searcher:
        from siamese.search.searcher import Searcher

        index = open_index(index_place, collection)
        embedder: Any
        if previous is not None and index.model == previous.index.model:
            embedder = previous.embedder
        elif tf_serving is not None:
            from siamese.server.tf_serving import TFServing

            embedder = TFServing(tf_serving, tf_serving_model, index)
        else:
            embedder = load_index_embedder(index, index_place, **model)
        return Searcher(embedder, index)

    listener = bind_socket(host, port)
    with model_context():
        from siamese.server.service import Service

        service = Service(load_searcher, index_place, settings, collection)
    current = service.current
    pictures = pluralize(current.pictures, "picture")
    click.echo(f"{format_url(listener)}: {pictures} of {current.searcher.index.name}")
    sys.exit(serve(service, listener))
