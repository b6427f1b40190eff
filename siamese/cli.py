"""The `siamese` command: one verb a job. Words become calls here; all else is in the package."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from siamese import __version__
from siamese.errors import InputError
from siamese.files import require_writable
from siamese.recipe import Recipe
from siamese.recipe_options import recipe_options
from siamese.stopping import stoppable
from siamese.words import counted

if TYPE_CHECKING:
    from siamese.catalogue import Catalogue
    from siamese.embedding import Embedder, Skipped
    from siamese.embedding_store import EmbeddingStore
    from siamese.evaluation import Evaluation
    from siamese.runtimes import PrecisionName, RuntimeName
    from siamese.search import QueryResult, Searcher

F = TypeVar("F", bound=Callable[..., Any])

SOME_SKIPPED = 3
"""Exit code: done, but some pictures were skipped."""
WEAKEST = 5
"""Labels that `evaluate` names; `--json` has them all."""


class Verbs(click.Group):
    """A group whose commands end with one line a problem and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with clear_errors():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the work, not of the alphabet


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an `InputError` into its lines on standard error and exit code 2, and hear stops."""
    try:
        with stoppable(
            "stopped; what was finished stands, and the same command goes on (train: with --resume)"
        ):
            yield
    except InputError as error:
        lines = error.lines
    except MemoryError:
        lines = ["not enough memory; give a smaller --batch-size or --picture-size"]
    except BrokenPipeError:
        raise  # whoever read has had enough; click ends quietly
    except OSError as error:  # a full disk under standard output, say
        lines = [f"{error.filename or 'standard output'}: {error.strerror or error}"]
    else:
        return
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(2)


@contextlib.contextmanager
def keras_at_work() -> Iterator[None]:
    """Load Keras, and keep standard output free for results: its prints go to standard error."""
    from siamese.quiet import import_keras

    with contextlib.redirect_stdout(sys.stderr):
        import_keras()
        from siamese.devices import device_line, has_gpu, missing_gpu

        if has_gpu() or missing_gpu():
            print(device_line())
        yield


def labeled_data_options(function: F) -> F:
    """The flags of a verb that reads a catalogue."""
    function = click.option(
        "--image-dir",
        type=click.Path(path_type=Path),
        help="Folder that the filenames are relative to.  [default: the folder of the JSON file]",
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


embeddings_option = click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    help="Folder of `siamese embed`: what is in it is not embedded again, what is new is added.",
)
output_type = click.Path(path_type=Path)
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


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="siamese")
def cli() -> None:
    """Photos of things in; "show me what looks like this" out.

    \b
    siamese from-folder photos --output photos/items.json    a folder an item
    siamese check --labeled-data photos/items.json           what is wrong with the data
    siamese split --labeled-data photos/items.json           train.json and test.json
    siamese train --labeled-data photos/train.json           checkpoints/final_model.hdf5
    model="--keras-model checkpoints/final_model.hdf5"
    siamese report --labeled-data photos/test.json $model    what training brought
    siamese index --labeled-data photos/items.json $model    search_index.pkl
    siamese search photo.jpg                                 what looks like this
    siamese serve --image-dir photos                         a page and an API to search with

    Exit codes: 0 done, 2 the input or the call is wrong, 3 done but some pictures were skipped.
    """


@cli.command()
@labeled_data_options
@json_option
def check(labeled_data: Path, image_dir: Path | None, as_json: bool) -> None:
    """List everything that is wrong with a catalogue.

    Its form, its names, its files and its pictures, all at once. Errors (exit code 2) must be
    put right; warnings may be meant.
    """
    from siamese.check import check_catalogue

    report = check_catalogue(labeled_data, image_dir)
    if as_json:
        print_json(report.as_dict())
    else:
        for kind, problems in (("error", report.errors), ("warning", report.warnings)):
            for problem in problems:
                click.echo(f"{kind}: {problem}")
        click.echo(f"{labeled_data}: {report}")
    sys.exit(2 if report.errors else 0)


@cli.command()
@labeled_data_options
@click.option(
    "--train",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    show_default=True,
    help="Share of the items to train on.",
)
@seed_option
@click.option(
    "--output",
    type=output_type,
    help="Folder for train.json and test.json.  [default: the folder of the JSON file]",
)
@json_option
def split(
    labeled_data: Path,
    image_dir: Path | None,
    train: float,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Split a catalogue by item: train.json, test.json.

    Stratified by label; no item is in both.
    """
    from siamese.files import atomic_path

    output = output or labeled_data.parent
    parts = dict(
        zip(("train", "test"), read(labeled_data, image_dir).split(train, seed), strict=True)
    )
    paths = {name: output / f"{name}.json" for name in parts}
    # Both or neither: a new one beside an old one would share items with it.
    with atomic_path(paths["train"]) as temporary:
        parts["train"].write(temporary)
        parts["test"].write(paths["test"])
    done = {
        name: {
            "path": str(paths[name]),
            "items": len(part.items),
            "pictures": len(part.pictures),
        }
        for name, part in parts.items()
    }
    if as_json:
        print_json(done)
        return
    for part_done in done.values():
        click.echo("{path}: {items:,} items, {pictures:,} pictures".format(**part_done))
    if output.resolve() != labeled_data.parent.resolve():
        folder = image_dir or labeled_data.parent
        click.echo(f"note: the filenames are still relative to {folder}: give it as --image-dir")


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@items_output_option
@json_option
def from_folder(source: Path, output: Path, as_json: bool) -> None:
    """Make labelled data of a folder of folders.

    SOURCE holds a folder an item. The filenames are relative to SOURCE: give it as --image-dir
    to the other verbs.
    """
    from siamese.catalogue import Catalogue

    converted(Catalogue.from_folder(source), output, as_json)


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@items_output_option
@json_option
def from_csv(source: Path, output: Path, as_json: bool) -> None:
    """Make labelled data of a CSV file.

    SOURCE has the header item_id,filename,labels. A row a picture; labels are separated by | or
    ; within their cell.
    """
    from siamese.catalogue import Catalogue

    converted(Catalogue.from_csv(source), output, as_json)


@cli.command()
@labeled_data_options
@click.option(
    "--output",
    type=output_type,
    default="checkpoints",
    show_default=True,
    help="Folder for the checkpoints.",
)
@click.option(
    "--held-out",
    "held_out_items",
    type=click.Path(path_type=Path),
    help="Labelled data to measure on each epoch.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with the run in --output, after its last epoch."
)
@recipe_options
@model_options
@json_option
def train(
    labeled_data: Path,
    image_dir: Path | None,
    output: Path,
    held_out_items: Path | None,
    resume: bool,
    keras_model: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train an embedding on a catalogue.

    The best model is final_model.hdf5 in --output. Starts from the pretrained default or from
    --backbone, or goes on training --keras-model. Items that share a label are never treated as
    dissimilar. Stopped? The same command with --resume.
    """
    catalogue = read_usable(labeled_data, image_dir)
    folder = image_dir or labeled_data.parent
    others = read_usable(held_out_items, folder) if held_out_items else None
    given = {name: value for name, value in flags.items() if value is not None}
    if keras_model is not None:
        fresh = ("backbone", "picture_size", "weights", "embedding_size", "pooling")
        require_alone(**{name: flags[name] for name in fresh})
    require_writable(output / "final_model.hdf5")
    with keras_at_work():
        from siamese.training import recorded_recipe
        from siamese.training import train as run

        recipe = replace(recorded_recipe(output), **given) if resume else Recipe(**given)
        done = run(catalogue, recipe, output, held_out=others, start=keras_model, resume=resume)
    if as_json:
        document = asdict(done)
        print_json({**document, "model": str(done.model)})
    else:
        click.echo(f"{done.model}: the model of epoch {done.best_epoch}")
    end(done.skipped)


@cli.command()
@labeled_data_options
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Labelled data to search for in --labeled-data.  [default: leave one out]",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help='Write the threshold of "we don\'t have this" beside --keras-model.',
)
@embeddings_option
@seed_option
@embedding_options
@batch_size_option
@json_option
def evaluate(
    labeled_data: Path,
    image_dir: Path | None,
    queries: Path | None,
    calibrate: bool,
    embeddings: Path | None,
    seed: int,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Measure how well pictures of one item are found.

    By recall@k, precision@10, MAP@R, mAP and nDCG@10, over the pictures and by item, with 95 %
    intervals from drawing the items anew; for each label; and by pairs of pictures.
    """
    keras_model = model["keras_model"]
    if calibrate and keras_model is None:
        raise InputError("--calibrate writes beside a checkpoint; give --keras-model too")
    gallery = read_usable(labeled_data, image_dir)
    asked = read_usable(queries, image_dir or labeled_data.parent) if queries else None
    with keras_at_work():
        from siamese.calibration import calibration_path
        from siamese.evaluation import evaluate as run

        if calibrate:
            require_writable(calibration_path(keras_model))
        measured_on = f"{queries} in {labeled_data}" if queries else str(labeled_data)
        done = run(
            embedder(**model),
            gallery,
            asked,
            batch_size=batch_size,
            store=store(embeddings),
            seed=seed,
            measured_on=measured_on,
        )
        if calibrate:
            if done.calibration is None:
                raise InputError(
                    f"{measured_on}: --calibrate needs pictures of at least two items; give more"
                )
            done.calibration.write(calibration_path(keras_model))
    if as_json:
        print_json(done.as_dict())
    else:
        print_evaluation(done)
        if calibrate:
            click.echo(calibration_path(keras_model))
    end(done.skipped)


@cli.command()
@click.argument("what", type=click.Choice(["savedmodel"]))
@model_options
@click.option("--output", type=output_type, help="Folder that gets the next version.")
@json_option
def export(what: str, output: Path | None, as_json: bool, **model: Any) -> None:
    """Write a SavedModel for TensorFlow Serving.

    Its answers are compared with Keras first; where they differ there is no export.
    """
    from siamese.export import SAVED_MODELS, export_savedmodel

    output = output or SAVED_MODELS
    require_writable(output / "next")
    with keras_at_work():
        done = export_savedmodel(embedder(**model), output)
    if as_json:
        print_json({"path": str(done.path), "parity": [asdict(row) for row in done.parity]})
    else:
        print_export(done)


@cli.command()
@labeled_data_options
@embedding_options
@click.option(
    "--output",
    type=output_type,
    default="embeddings",
    show_default=True,
    help="Folder to write to.",
)
@batch_size_option
@json_option
def embed(
    labeled_data: Path,
    image_dir: Path | None,
    output: Path,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Embed a catalogue into a folder of Parquet files.

    `index`, `evaluate` and `report` take it as --embeddings. Pictures that cannot be used are
    skipped (exit code 3). Stopped, or are there more pictures now? The same command embeds only
    what is new.
    """
    from siamese.embedding_store import MANIFEST, EmbeddingStore

    catalogue = read_usable(labeled_data, image_dir)
    require_writable(output / MANIFEST)
    with keras_at_work():
        done = embedder(**model).embed_into(
            EmbeddingStore(output), catalogue, batch_size=batch_size
        )
    if as_json:
        print_json({"path": str(output), **done.as_dict()})
    else:
        click.echo(f"{output}: {counted(done.pictures, 'picture')}, {done.new:,} of them new")
        if done.runtime is not None:
            click.echo(
                f"{done.pictures_per_second:,.1f} pictures/s by {done.runtime} in {done.precision}"
            )
    end(done.skipped)


@cli.command()
@labeled_data_options
@embedding_options
@embeddings_option
@click.option(
    "--backend",
    type=click.Choice(["balltree", "faiss", "milvus"]),
    help="Engine that searches.  [default: what suits --output, or balltree]",
)
@click.option(
    "--output",
    help="File, folder or address of a Milvus server.  [default: search_index.pkl, .faiss or "
    ".milvus]",
)
@collection_option
@click.option(
    "--update", is_flag=True, help="Change only what is not as in the catalogue any more."
)
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="faiss: share of the nearest pictures to be found at least.  [default: 0.98]",
)
@click.option(
    "--augment-gallery",
    "augment",
    is_flag=True,
    help="Mix each vector with its three nearest: more is found, distances are to the mean.",
)
@batch_size_option
@json_option
def index(
    labeled_data: Path,
    image_dir: Path | None,
    embeddings: Path | None,
    backend: str | None,
    output: str | None,
    collection: str,
    update: bool,
    min_recall: float | None,
    augment: bool,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Embed a catalogue and write a search index.

    A pickled scikit-learn BallTree, a folder of FAISS, or a collection of Milvus. Pictures that
    cannot be used are skipped (exit code 3) and listed beside the index. Stopped, or are there
    more pictures now? The same command embeds only what is new.
    """
    from siamese.indexing import index_catalogue, prepare_index

    catalogue = read(labeled_data, image_dir)
    words: dict[str, Any] = {
        "backend": backend,
        "collection": collection,
        "update": update,
        "min_recall": min_recall,
        "augment": augment,
    }
    prepare_index(output, **words)
    with keras_at_work():
        done = index_catalogue(
            embedder(**model),
            catalogue,
            output,
            batch_size=batch_size,
            store=store(embeddings),
            **words,
        )
    if as_json:
        changes = done.changes and done.changes._asdict()
        print_json({**asdict(done), "path": str(done.path), "changes": changes})
    else:
        print_indexed(done)
    end(done.skipped)


@cli.command()
@click.argument("images", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="More of them: labelled data (.json), or a text with a file a line.",
)
@click.option(
    "--together", is_flag=True, help="All are views of one thing: search once, by their mean."
)
@index_options
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Results a query.")
@click.option(
    "--offset", type=click.IntRange(0), default=0, show_default=True, help="Results to leave out."
)
@click.option("--any-label", multiple=True, help="Only what has one of these; may be repeated.")
@click.option("--every-label", multiple=True, help="Only what has all of these; may be repeated.")
@click.option("--no-label", multiple=True, help="Only what has none of these; may be repeated.")
@click.option(
    "--max-distance", help='Only what is nearer than this; "calibrated" for the model\'s threshold.'
)
@click.option(
    "--exclude-own-item", is_flag=True, help="Leave out pictures of the item the query is of."
)
@click.option(
    "--rerank",
    type=click.Choice(["none", "expansion", "reciprocal"]),
    default="none",
    show_default=True,
    help="Nearest first, or a better order by the neighbours of what is found.",
)
@click.option(
    "--by-item",
    type=click.Choice(["best", "mean"]),
    help="A result an item, ranked by its best picture or the mean of its three best.",
)
@embedding_options
@click.option(
    "--image-dir", type=click.Path(path_type=Path), help="Folder of the indexed pictures."
)
@click.option(
    "--output",
    type=output_type,
    help="Results with pictures, a .html or .png file (--image-dir); or as .csv or .jsonl.",
)
@json_option
def search(
    images: tuple[Path, ...],
    queries: Path | None,
    together: bool,
    index_place: str,
    collection: str,
    k: int,
    offset: int,
    any_label: tuple[str, ...],
    every_label: tuple[str, ...],
    no_label: tuple[str, ...],
    max_distance: str | None,
    exclude_own_item: bool,
    rerank: str,
    by_item: str | None,
    image_dir: Path | None,
    output: Path | None,
    as_json: bool,
    **model: Any,
) -> None:
    """Find what looks most like a picture.

    Ranks the pictures, or the items, of an index for each of IMAGES: files, and folders all of
    whose pictures are meant. The model is the one that the index records; another is refused.
    """
    from siamese.result_files import SUFFIXES, write_results

    if output is not None:
        if output.suffix not in (".html", ".png", *SUFFIXES):
            raise InputError(
                f"--output {output}: give a name that ends in .html, .png, .csv or .jsonl"
            )
        if image_dir is None and output.suffix not in SUFFIXES:
            raise InputError("--output shows pictures; give their folder with --image-dir")
        require_writable(output)
    from siamese.indexes import LabelFilter, open_index
    from siamese.queries import queries_of, search_each

    asked = queries_of(images, queries, image_dir)
    opened = open_index(index_place, collection)
    skipped: list[Skipped] = []
    with keras_at_work():
        from siamese.search import Options, Searcher

        searcher = Searcher(embedder(**model, recorded=opened.model), opened)
        options = Options(
            offset=offset,
            labels=LabelFilter.of(any_label, every_label, no_label),
            max_distance=farthest(max_distance, searcher),
            rerank=rerank,
            by_item=by_item,
        )
        if together:
            own = {query.own_item(opened) for query in asked} if exclude_own_item else set()
            if len(own) > 1:
                raise InputError(
                    "--together --exclude-own-item: the pictures are of several items; leave one "
                    "of the two out"
                )
            options["own_items"] = list(own) or None
            paths = [query.path for query in asked]
            results = iter(searcher.search(paths, k, together=True, **options))
        else:
            results = search_each(
                searcher, asked, k, skipped, exclude_own_item=exclude_own_item, **options
            )
        if output is not None and output.suffix in SUFFIXES and not as_json:
            write_results(results, output)  # as they come, however many they are
            click.echo(output)
            end(skipped)
            return
        found = list(results)
        if output is not None and output.suffix in SUFFIXES:
            write_results(found, output)
        elif output is not None and image_dir is not None:
            from siamese.reports import results_page, results_picture, write_picture

            require_some(image_dir, found)
            if output.suffix == ".html":
                results_page(found, image_dir, output)
            else:
                write_picture(results_picture(found, image_dir), output)
    if as_json:
        print_json([query.as_dict() for query in found])
    else:
        print_results(found, searcher)
        if output is not None:
            click.echo(output)
    end(skipped)


@cli.command()
@click.option(
    "--index",
    "index_path",
    default="search_index.pkl",
    show_default=True,
    help="Index to serve; a new one in its place is served without a stop.",
)
@collection_option
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
    index_path: str,
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

    The model is the one that the index records; another is refused. SIGTERM ends it with every
    accepted request answered.
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
    if tf_serving is not None and (given := [name for name, value in model.items() if value]):
        raise InputError(
            f"--{given[0].replace('_', '-')} and --tf-serving: one model embeds; leave one out"
        )
    from siamese.indexes import open_index
    from siamese.server.running import bound, serve, url_of

    listener = bound(host, port)

    def load(before: Searcher | None) -> Searcher:
        from siamese.search import Searcher

        opened = open_index(index_path, collection)
        if before is not None and opened.model == before.index.model:
            return Searcher(before.embedder, opened)
        if tf_serving is not None:
            from siamese.server.tf_serving import TFServing

            served: Any = TFServing(tf_serving, tf_serving_model, opened)
            return Searcher(served, opened)
        return Searcher(embedder(**model, recorded=opened.model), opened)

    with keras_at_work():
        from siamese.server.service import Service

        service = Service(load, index_path, settings)
    index = service.current.searcher.index
    click.echo(f"{url_of(listener)}: {counted(len(index), 'picture')} of {index.name}")
    sys.exit(serve(service, listener))


@cli.command()
@labeled_data_options
@embedding_options
@embeddings_option
@click.option(
    "--output", type=output_type, default="report", show_default=True, help="Folder to write to."
)
@batch_size_option
@json_option
def report(
    labeled_data: Path,
    image_dir: Path | None,
    embeddings: Path | None,
    output: Path,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Show what training brought.

    Compares --keras-model with the pretrained default on a catalogue it was not trained on, and
    writes report.html, neighbours.png, catalogue.png and metrics.json to --output.
    """
    catalogue = read_usable(labeled_data, image_dir)
    if not (model["keras_model"] or model["backbone"]):
        raise InputError(
            "report compares with the pretrained default; give --keras-model or --backbone"
        )
    require_writable(output / "report.html")
    with keras_at_work():
        from siamese.reports.writing import write_report

        default = embedder(None, runtime=model["runtime"], precision=model["precision"])
        done = write_report(
            catalogue,
            default,
            embedder(**model),
            output,
            batch_size=batch_size,
            store=store(embeddings),
        )
    if as_json:
        print_json(done.comparison.as_dict())
    else:
        before, after = done.comparison.before, done.comparison.after
        print_table(
            ("figure", "before", "after", "gain"),
            (
                (
                    name,
                    f"{before[name]:.3f}",
                    f"{after[name]:.3f}",
                    f"{after[name] - before[name]:+.3f}",
                )
                for name in before
                if isinstance(before[name], float)
            ),
        )
        click.echo(output / "report.html")
    end(done.skipped)


def main() -> None:
    """Entry point of the `siamese` command."""
    cli(prog_name="siamese")


def read(labeled_data: Path, image_dir: Path | None) -> Catalogue:
    """Read a catalogue, without opening its pictures."""
    from siamese.catalogue import Catalogue

    return Catalogue.read(labeled_data, image_dir)


def read_usable(labeled_data: Path, image_dir: Path | None) -> Catalogue:
    """Read a catalogue that has nothing wrong but single pictures, which can be skipped."""
    from siamese.check import quick_check

    catalogue = read(labeled_data, image_dir)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(f"{labeled_data}: {problem}" for problem in fatal)
    return catalogue


def embedder(
    keras_model: Path | None,
    backbone: str | None = None,
    picture_size: int | None = None,
    weights: str | None = None,
    recorded: Any = None,
    *,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Embedder:
    """The model that the flags name; without any, the one an index records, or the default."""
    from siamese.embedding import Embedder

    if keras_model is not None:
        require_alone(backbone=backbone, picture_size=picture_size, weights=weights)
        return Embedder.load(keras_model, runtime=runtime, precision=precision)
    if recorded is not None and (backbone, picture_size, weights) == (None, None, None):
        if recorded["path"] is not None:
            if not Path(recorded["path"]).is_file():
                raise InputError(
                    f"{recorded['path']}: the model that made the index is not there; say where "
                    "it is now with --keras-model"
                )
            return Embedder.load(recorded["path"], runtime=runtime, precision=precision)
        backbone, picture_size = recorded["name"], recorded["picture_size"]
    return Embedder.pretrained(
        backbone, picture_size, weights or "imagenet", runtime=runtime, precision=precision
    )


def store(embeddings: Path | None) -> EmbeddingStore | None:
    """The folder of embeddings that a flag names."""
    from siamese.embedding_store import EmbeddingStore

    return None if embeddings is None else EmbeddingStore(embeddings)


def farthest(max_distance: str | None, searcher: Searcher) -> float | None:
    """What --max-distance means: a number, or the model's own threshold."""
    if max_distance == "calibrated":
        if searcher.threshold is None:
            raise InputError(
                f"--max-distance calibrated: {searcher.embedder.facts.name} has no calibration; "
                "siamese evaluate --calibrate makes one"
            )
        return searcher.threshold
    try:
        return None if max_distance is None else float(max_distance)
    except ValueError:
        raise InputError(
            f"--max-distance {max_distance}: give a number from 0 to 2, or calibrated"
        ) from None


def require_some(image_dir: Path, found: Iterable[QueryResult]) -> None:
    """Some of the pictures that were found must be there to be shown."""
    filenames = [result.filename for query in found for result in query.results]
    if filenames and not any((image_dir / filename).is_file() for filename in filenames):
        raise InputError(
            f"{image_dir}: none of the pictures found is there, {filenames[0]} for one; give the "
            "right --image-dir"
        )


def require_alone(**of_a_fresh_model: object) -> None:
    """Beside --keras-model, no flag that describes a fresh model."""
    if too_many := [name for name, value in of_a_fresh_model.items() if value is not None]:
        raise InputError(
            f"--{name.replace('_', '-')} and --keras-model: a checkpoint has its own; leave it out"
            for name in too_many
        )


def converted(catalogue: Catalogue, output: Path, as_json: bool) -> None:
    """Write a converted catalogue and say what is in it."""
    catalogue.write(output)
    for note in catalogue.notes:
        click.echo(f"note: {note}", err=True)
    items, pictures = len(catalogue.items), len(catalogue.pictures)
    if as_json:
        print_json({"path": str(output), "items": items, "pictures": pictures})
    else:
        click.echo(f"{output}: {items:,} items, {pictures:,} pictures")


def print_evaluation(done: Evaluation) -> None:
    """Say how well items are found, which labels worst, and how far that can be trusted."""
    intervals = done.intervals or {}

    def interval(kind: str, name: str) -> str:
        ends = (intervals.get(kind) or {}).get(name)
        return f"{ends[0]:.3f} – {ends[1]:.3f}" if ends else "–"

    rows = [
        (
            name,
            f"{done.figures[name]:.3f}",
            interval("figures", name),
            f"{done.by_item[name]:.3f}",
            interval("by_item", name),
        )
        for name in done.by_item
    ]
    print_table(("figure", "by picture", "95 %", "by item", "95 %"), rows)
    worst = sorted(done.by_label.items(), key=lambda entry: (entry[1]["map@r"], entry[0]))
    if len(worst) > 1:
        print_table(
            (f"weakest of {len(worst):,} labels", "items", "queries", "recall@1", "map@r"),
            (
                (
                    label,
                    f"{of['items']:,}",
                    f"{of['queries']:,}",
                    f"{of['recall@1']:.3f}",
                    f"{of['map@r']:.3f}",
                )
                for label, of in worst[:WEAKEST]
            ),
        )
    figures = done.figures
    lines = [
        f"{figures['queries']:,} queries, {figures['gallery']:,} pictures of {figures['items']:,} "
        "items searched"
    ]
    if done.label_recall is not None:
        names = ("recall@1", "recall@5", "recall@10")
        shares = ", ".join(f"{done.label_recall[name]:.3f}" for name in names)
        lines.append(f"a common label among the nearest 1, 5 and 10: {shares}")
    if (pairs := done.verification) is not None:
        lines.append(
            f"pairs: ROC AUC {pairs['auc']:.3f}, equal error rate "
            f"{pairs['equal_error_rate']:.3f}, FNMR {pairs['fnmr@fmr=1e-2']:.3f} at FMR 0.01 and "
            f"{pairs['fnmr@fmr=1e-3']:.3f} at 0.001"
        )
    if (told := done.calibration) is not None:
        lines.append(
            f"not in the gallery: beyond distance {told.threshold:.3f}, with precision "
            f"{told.precision:.3f} and recall {told.recall:.3f}"
        )
    if twice := done.duplicates["queries"]:
        lines.append(
            f"duplicates: {twice:,} queries have their like in the gallery, "
            f"{done.duplicates['same_bytes']:,} of them byte for byte; they make every figure too "
            "good"
        )
    else:
        lines.append("duplicates: none among what was searched for and the gallery")
    for line in lines:
        click.echo(line)
    if done.unanswerable:
        click.echo(
            f"{done.unanswerable:,} queries left out: no other picture of their item", err=True
        )


def print_results(found: Iterable[QueryResult], searcher: Searcher) -> None:
    """Say what was found, a table a query, and where nothing is close enough."""
    for query in found:
        print_table(
            ("rank", "distance", "item", "file"),
            ((str(r.rank), f"{r.distance:.3f}", r.item_id, r.filename) for r in query.results),
            title=query.query,
        )
        if not query.results:
            click.echo("nothing found: no picture is left by the flags that were given")
        elif query.in_catalogue is False:
            click.echo(
                "nothing in the catalogue is close enough: the nearest is farther than "
                f"{searcher.threshold:.3f}, the threshold of {searcher.embedder.facts.name}"
            )


def print_export(done: Any) -> None:
    """Say how alike the ways to a vector are, and where the SavedModel lies."""
    print_table(
        ("one way", "the other", "least cosine"),
        ((row.one, row.other, f"{row.cosine:.5f}") for row in done.parity),
    )
    click.echo(done.path)


def print_indexed(done: Any) -> None:
    """Say what is in an index, and what has changed in it."""
    if done.changes is not None:
        added, changed, removed = done.changes
        click.echo(f"{added:,} added, {changed:,} changed, {removed:,} removed")
    click.echo(f"{done.path}: {done.pictures:,} pictures, {done.embedding_size:,} dimensions")


def end(skipped: Iterable[Skipped]) -> None:
    """Name the skipped pictures; with any, end with exit code 3."""
    lines = [f"skipped: item {one.item_id}, file {one.filename}: {one.reason}" for one in skipped]
    for line in lines:
        click.echo(line, err=True)
    if lines:
        click.echo(f"{counted(len(lines), 'picture')} skipped", err=True)
        sys.exit(SOME_SKIPPED)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], title: str | None = None
) -> None:
    """Print a table on standard output, as wide as the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title and Text(title), title_justify="left")
    for head in heads:
        table.add_column(head, overflow="fold")  # a cut name is no name
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a file name may look like markup
    console = Console()
    if not console.is_terminal:  # for grep and the like: a line a row, however long
        console.width = 10_000
    console.print(table)
