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
    from siamese.search import QueryResult

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
    "--output",
    type=output_type,
    default="search_index.pkl",
    show_default=True,
    help="Index file to write.",
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
    output: Path,
    augment: bool,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Embed a catalogue and write a search index.

    The index is a pickled scikit-learn BallTree. Pictures that cannot be used are skipped (exit
    code 3) and listed beside the index. Stopped, or are there more pictures now? The same command
    embeds only what is new.
    """
    catalogue = read(labeled_data, image_dir)
    require_writable(output)
    with keras_at_work():
        from siamese.indexing import index_catalogue

        done = index_catalogue(
            embedder(**model),
            catalogue,
            output,
            batch_size=batch_size,
            store=store(embeddings),
            augment=augment,
        )
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
    else:
        print_indexed(done)
    end(done.skipped)


@cli.command()
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--index",
    "index_path",
    type=click.Path(path_type=Path),
    default="search_index.pkl",
    show_default=True,
    help="Index file.",
)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Results a query.")
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
    "--output", type=output_type, help="Results with pictures: a .html or .png file (--image-dir)."
)
@json_option
def search(
    images: tuple[Path, ...],
    index_path: Path,
    k: int,
    rerank: str,
    by_item: str | None,
    image_dir: Path | None,
    output: Path | None,
    as_json: bool,
    **model: Any,
) -> None:
    """Find what looks most like a picture.

    Ranks the pictures, or the items, of an index for each of IMAGES. The model is the one that
    the index records; another is refused.
    """
    if output is not None:
        if output.suffix not in (".html", ".png"):
            raise InputError(f"--output {output}: give a name that ends in .html or .png")
        if image_dir is None:
            raise InputError("--output shows pictures; give their folder with --image-dir")
        require_writable(output)
    from siamese.indexes import open_index

    opened = open_index(index_path)
    with keras_at_work():
        from siamese.search import Searcher

        searcher = Searcher(embedder(**model, recorded=opened.model), opened)
        found = searcher.search(images, k, rerank=rerank, by_item=by_item)
        if output is not None and image_dir is not None:
            from siamese.reports import results_page, results_picture, write_picture

            require_some(image_dir, found)
            if output.suffix == ".html":
                results_page(found, image_dir, output)
            else:
                write_picture(results_picture(found, image_dir), output)
    if as_json:
        print_json([query.as_dict() for query in found])
        return
    for query in found:
        print_table(
            ("rank", "distance", "item", "file"),
            ((str(r.rank), f"{r.distance:.3f}", r.item_id, r.filename) for r in query.results),
            title=query.query,
        )
        if query.in_catalogue is False:
            click.echo(
                "nothing in the catalogue is close enough: the nearest is farther than "
                f"{searcher.threshold:.3f}, the threshold of {searcher.embedder.facts.name}"
            )
    if output is not None:
        click.echo(output)


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


def require_some(image_dir: Path, found: Iterable[QueryResult]) -> None:
    """Some of the pictures that were found must be there to be shown."""
    filenames = [result.filename for query in found for result in query.results]
    if not any((image_dir / filename).is_file() for filename in filenames):
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


def print_export(done: Any) -> None:
    """Say how alike the ways to a vector are, and where the SavedModel lies."""
    print_table(
        ("one way", "the other", "least cosine"),
        ((row.one, row.other, f"{row.cosine:.5f}") for row in done.parity),
    )
    click.echo(done.path)


def print_indexed(done: Any) -> None:
    """Say what is in a new index."""
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
