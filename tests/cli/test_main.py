"""The command as a user has it: words in, text, files and exit codes out."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from siamese.cli.main import cli
from siamese.data.catalogue import Catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--backbone", "base_cnn", "--picture-size", "32", "--embedding-size", "16")


def siamese(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: object) -> Result:
    """A command that must succeed."""
    result = siamese(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words: object) -> list[str]:
    """The lines of a command that must end with exit code 2, one line a problem."""
    result = siamese(*words)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


@pytest.fixture(scope="module")
def items(catalogue):
    return catalogue.image_dir / "items.json"


@pytest.fixture(scope="module")
def index(items, checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "search_index.pkl"
    done("index", "--labeled-data", items, "--keras-model", checkpoint, "--output", path)
    return path


# --- embeddings of their own


def test_embeddings_are_made_once_and_used_by_every_verb(items, checkpoint, catalogue, tmp_path):
    model = ("--labeled-data", items, "--keras-model", checkpoint)
    kept = tmp_path / "embeddings"
    made = json.loads(done("embed", *model, "--output", kept, "--json").stdout)
    assert made.pop("seconds") > 0 and made.pop("pictures_per_second") > 0
    assert made.pop("runtime") in ("openvino", "tensorflow")
    assert made.pop("precision") in ("float32", "bfloat16")
    assert made == {
        "path": str(kept),
        "pictures": 48,
        "new": 48,
        "skipped": [],
        "engine": "local",
    }
    for verb in ("index", "evaluate", "report"):
        output = {
            "index": ("--output", tmp_path / "search_index.pkl"),
            "report": ("--output", tmp_path / "report"),
        }.get(verb, ())
        result = done(verb, *model, *output, "--embeddings", kept)
        assert "48 of 48 pictures embedded already" in result.stderr
    assert not (tmp_path / "search_index.embeddings").exists()
    assert "48 pictures, 0 of them new" in done("embed", *model, "--output", kept).stdout


def test_evaluating_a_part_keeps_the_rest_of_the_embeddings(items, checkpoint, tmp_path):
    model = ("--keras-model", checkpoint, "--image-dir", items.parent)
    kept = tmp_path / "embeddings"
    done("split", "--labeled-data", items, "--output", tmp_path)
    done("embed", "--labeled-data", items, *model, "--output", kept)
    done("evaluate", "--labeled-data", tmp_path / "test.json", *model, "--embeddings", kept)
    again = done("embed", "--labeled-data", items, *model, "--output", kept)
    assert "48 of 48 pictures embedded already" in again.stderr


def test_embed_names_what_it_skips(catalogue, checkpoint, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    (folder / "red-disc-0.png").write_text("no picture")
    result = siamese(
        *("embed", "--labeled-data", folder / "items.json", "--keras-model", checkpoint),
        *("--output", tmp_path / "embeddings", "--runtime", "tensorflow", "--precision", "float32"),
    )
    assert result.exit_code == 3
    assert "skipped: item red-disc, file red-disc-0.png: not a picture" in result.stderr
    assert "47 pictures, 47 of them new" in result.stdout
    assert "pictures/s with tensorflow in float32" in result.stdout


# --- labelled data


def test_check_of_a_good_catalogue(items):
    result = done("check", "--labeled-data", items)
    assert "12 items, 48 pictures, 0 errors, 0 warnings" in result.stdout
    report = json.loads(done("check", "--labeled-data", items, "--json").stdout)
    assert report == {"items": 12, "pictures": 48, "errors": [], "warnings": []}


def test_check_lists_everything_at_once(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture")
    form = {
        "a": {"images": [{"filename": "gone.png"}, {"filename": "../out.png"}]},
        "b": {"images": [{"filename": "text.png"}, {"filename": 7}], "labels": "red"},
        "c": {"images": []},
        "d": {"images": [{"filename": "good.png"}]},
        "e": {"images": [{"filename": "good.png"}]},
    }
    (tmp_path / "items.json").write_text(json.dumps(form))
    result = siamese("check", "--labeled-data", tmp_path / "items.json")
    assert result.exit_code == 2
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    for item, what in (
        ("a", "file missing"),
        ("a", ".."),
        ("b", "not a picture"),
        ("b", "images[1]"),
        ("b", "labels"),
        ("c", "no pictures"),
        ("e", "same file as good.png of item d"),
    ):
        assert any(f"item {item}" in line and what in line for line in errors), (item, what)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a catalogue"),
        ("{}", "no items"),
        ('{"a": 1}', "item a"),
        ('{"a": {}}', "no pictures"),
        ('{"a": {"images": {}}}', "images"),
        ('{"a": {"images": [{"file": "x.png"}]}}', "filename"),
        ('{"a": {"images": [{"filename": ""}]}}', "filename"),
        ('{"a": {"images": [{"filename": "/etc/hosts"}]}}', "hosts"),
        ('{"a": {"images": [{"filename": "x.png"}], "labels": [1]}}', "labels"),
        ('{"a": {"images": [{"filename": "x.png"}]}, "a": {"images": []}}', "more than once"),
        (None, "no such"),
    ],
)
@pytest.mark.parametrize("verb", ["index", "train", "evaluate", "report", "split"])
def test_every_verb_refuses_what_is_no_catalogue(verb, text, line, tmp_path):
    path = tmp_path / "items.json"
    if text is not None:
        path.write_text(text)
    output = [] if verb == "evaluate" else ["--output", tmp_path / "out"]
    lines = refused(verb, "--labeled-data", path, *output)
    assert lines
    assert all(str(path) in one for one in lines)
    assert any(line in one for one in lines)
    assert not (tmp_path / "out").exists()


def encoded(form: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def half(form: str) -> bytes:
    return encoded(form)[: len(encoded(form)) // 2]


BROKEN_PICTURES: dict[str, tuple[bytes | None, str]] = {
    "gone.jpg": (None, "file missing"),
    "no/such/folder.jpg": (None, "file missing"),
    "x" * 300: (None, "unreadable (file name too long)"),
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"no picture", "not a picture"),
    "page.jpg": (b"<html>404</html>", "not a picture"),
    "paper.pdf": (b"%PDF-1.7", "not a picture"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "zeros.jpg": (bytes(999), "not a picture"),
    "tail.jpg": (encoded("JPEG")[500:], "not a picture"),
    "half.jpg": (half("JPEG"), "truncated or damaged"),
    "half.png": (half("PNG"), "truncated or damaged"),
    "half.webp": (half("WEBP"), "truncated or damaged"),
    "half.gif": (half("GIF"), "truncated or damaged"),
    "half.tif": (half("TIFF"), "truncated or damaged"),
    "half.bmp": (half("BMP"), "truncated or damaged"),
    "head.png": (encoded("PNG")[:20], "truncated or damaged"),
    "large.png": (png_of(10_001, 10_000), "absurdly large"),
    "bomb.png": (png_of(60_000, 60_000), "absurdly large"),
    "pipe.jpg": (None, "not a regular file"),
    "folder.jpg": (None, "is a folder"),
}


def test_each_kind_of_broken_picture_is_a_line_everywhere(catalogue, checkpoint, tmp_path):
    """Told by `check`; skipped and told, with exit code 3, by what can do without."""
    photos = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, photos)
    for name, (data, _) in BROKEN_PICTURES.items():
        if data is not None:
            (photos / name).write_bytes(data)
    os.mkfifo(photos / "pipe.jpg")
    (photos / "folder.jpg").mkdir()
    form = json.loads((photos / "items.json").read_text())
    form["red-disc"]["images"] += [{"filename": name} for name in BROKEN_PICTURES]
    (photos / "items.json").write_text(json.dumps(form))

    def lines_of(text: str, prefix: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(prefix)]

    def require_all(lines: list[str]) -> None:
        assert len(lines) == len(BROKEN_PICTURES)
        for name, (_, reason) in BROKEN_PICTURES.items():
            (line,) = (line for line in lines if f"item red-disc, file {name}: " in line)
            assert reason in line

    data = ("--labeled-data", photos / "items.json")
    model = ("--keras-model", checkpoint)
    checked = siamese("check", *data)
    assert checked.exit_code == 2
    require_all(lines_of(checked.stdout, "error: "))
    for words in (
        ("index", *data, *model, "--output", tmp_path / "index.pkl"),
        ("evaluate", *data, *model),
        ("train", *data, *SMALL, "--epochs", 1, "--output", tmp_path / "checkpoints"),
    ):
        result = siamese(*words)
        assert result.exit_code == 3, result.output
        require_all(lines_of(result.stderr, "skipped: "))
    assert len(json.loads((tmp_path / "index.skipped.json").read_text())) == len(BROKEN_PICTURES)


def link_out(photos: Path) -> str:
    (photos.parent / "secret.png").write_bytes(encoded("PNG"))
    (photos / "link.png").symlink_to("../secret.png")
    return "link.png"


def folder_linked_out(photos: Path) -> str:
    (photos.parent / "other").mkdir()
    (photos / "side").symlink_to("../other")
    return "side/gone.png"


def hard_link(photos: Path) -> str:
    os.link(photos / "red-disc-0.png", photos / "again.png")
    return "again.png"


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (link_out, "leaves --image-dir"),
        (folder_linked_out, "leaves --image-dir"),
        (hard_link, "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "red-disc-0.png", "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "./red-disc-0.png", "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "../photos/red-disc-0.png", ".."),
        (lambda photos: "C:\\photos\\red.png", "red.png"),
        (lambda photos: "nul\0.png", "nul"),
        (lambda photos: shutil.rmtree(photos) or "x.png", "no such folder"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "index", "train", "evaluate", "report"])
def test_what_skipping_does_not_help_stops_every_verb(
    verb: str,
    spoil: Callable[[Path], str],
    line: str,
    catalogue: Catalogue,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, photos)
    form = json.loads((photos / "items.json").read_text())
    form["last"] = {"images": [{"filename": spoil(photos)}]}
    (tmp_path / "items.json").write_text(json.dumps(form))
    words = ["--labeled-data", tmp_path / "items.json", "--image-dir", photos]
    if verb in ("index", "train", "report"):
        words += ["--output", tmp_path / "out"]
    if verb in ("index", "evaluate"):
        words += ["--keras-model", checkpoint]
    result = siamese(verb, *words)
    assert result.exit_code == 2, result.output
    told = (result.stdout if verb == "check" else result.stderr).splitlines()
    errors = [one for one in told if one.startswith("error: ")]
    assert any(line in one for one in errors)
    assert not (tmp_path / "out").exists()


def test_split_keeps_items_apart_and_says_where_the_pictures_are(items, tmp_path):
    result = done("split", "--labeled-data", items, "--output", tmp_path, "--json")
    parts = json.loads(result.stdout)
    train, test = (json.loads((tmp_path / f"{part}.json").read_text()) for part in parts)
    assert len(train) == parts["train"]["items"] == 8
    assert not train.keys() & test.keys()
    assert "--image-dir" in done("split", "--labeled-data", items, "--output", tmp_path).stdout


def test_from_folder_and_from_csv(tmp_path):
    for name in ("cup/1.png", "cup/2.png", "jug/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "cup" / "notes.txt").write_text("")
    made = done("from-folder", tmp_path / "photos", "--output", tmp_path / "a.json", "--json")
    assert json.loads(made.stdout)["pictures"] == 3
    (tmp_path / "items.csv").write_text("item_id,filename,labels\ncup,cup/1.png,red|tall\n")
    done("from-csv", tmp_path / "items.csv", "--output", tmp_path / "b.json")
    made_of_csv = json.loads((tmp_path / "b.json").read_text())
    assert made_of_csv == {
        "cup": {"images": [{"filename": "cup/1.png"}], "labels": ["red", "tall"]}
    }
    assert refused("from-folder", tmp_path / "none")
    assert refused("from-csv", tmp_path / "none.csv")


# --- models


def test_train_writes_a_model_that_every_verb_takes(items, tmp_path):
    output = tmp_path / "checkpoints"
    words = ("--labeled-data", items, "--output", output, *SMALL, "--epochs", 1)
    result = done("train", *words, "--held-out-share", 0.34, "--json")
    told = json.loads(result.stdout)
    assert told["model"] == str(output / "final_model.hdf5")
    assert [row["epoch"] for row in told["history"]] == [0, 1]
    assert "val_map@r" in told["history"][1]
    names = {path.name for path in output.iterdir()}
    assert {"final_model.hdf5", "training_state.hdf5", "training_log.csv"} < names
    model = ("--keras-model", output / "final_model.hdf5")
    figures = json.loads(done("evaluate", "--labeled-data", items, *model, "--json").stdout)
    assert figures["figures"]["queries"] == 48
    written = done("export", "savedmodel", *model, "--output", tmp_path / "models", "--json")
    assert json.loads(written.stdout)["path"] == str(tmp_path / "models" / "1")


def test_base_cnn_must_be_trained_first(items, tmp_path):
    words = ("--labeled-data", items, "--backbone", "base_cnn")
    (line,) = refused("index", *words, "--output", tmp_path / "index.pkl")
    assert "has no pretrained weights" in line
    (line,) = refused("train", *words, "--weights", "w.h5", "--output", tmp_path / "checkpoints")
    assert "--weights w.h5" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_flag_of_a_fresh_model_beside_a_checkpoint_is_refused(items, checkpoint, tmp_path):
    words = ("--labeled-data", items, "--keras-model", checkpoint, "--picture-size", 64)
    assert "--picture-size and --keras-model" in refused("evaluate", *words)[0]
    assert "--picture-size" in refused("train", *words, "--output", tmp_path / "c")[0]


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x89HDF\r\n\x1a\n broken"])
def test_what_is_no_model_is_one_line(content, items, tmp_path):
    path = tmp_path / "model.hdf5"
    if content is not None:
        path.write_bytes(content)
    (line,) = refused("evaluate", "--labeled-data", items, "--keras-model", path)
    assert str(path) in line


def test_queries_against_a_gallery(items, checkpoint, tmp_path):
    done("split", "--labeled-data", items, "--output", tmp_path)
    words = ("--image-dir", items.parent, "--keras-model", checkpoint, "--json")
    queries = tmp_path / "test.json"
    told = done("evaluate", "--labeled-data", items, "--queries", queries, *words).stdout
    figures = json.loads(told)["figures"]
    assert figures["gallery"] == 48
    assert figures["queries"] == 16


def test_calibrate_writes_beside_the_checkpoint(items, checkpoint, tmp_path):
    model = tmp_path / "own.hdf5"
    model.write_bytes(checkpoint.read_bytes())
    words = ("evaluate", "--labeled-data", items, "--keras-model", model, "--calibrate")
    told = json.loads(done(*words, "--json").stdout)
    written = tmp_path / "own.calibration.json"
    assert json.loads(written.read_text()) == told["calibration"]
    assert told["calibration"]["fingerprint"] == told["model"]["fingerprint"]
    assert told["calibration"]["measured_on"] == str(items)
    assert str(written) in done(*words).stdout
    (line,) = refused("evaluate", "--labeled-data", items, "--calibrate")
    assert "give --keras-model" in line


def test_an_evaluation_is_a_short_table(items, checkpoint):
    told = done("evaluate", "--labeled-data", items, "--keras-model", checkpoint).stdout
    for words in ("by picture", "by item", "95 %", "recall@1", "ROC AUC", "duplicates:"):
        assert words in told
    assert len(told.splitlines()) < 30


def test_nothing_to_find_is_one_line(items, checkpoint, tmp_path):
    form = {
        name: {**one, "images": one["images"][:1]}
        for name, one in json.loads(items.read_text()).items()
    }
    single = tmp_path / "single.json"
    single.write_text(json.dumps(form))
    words = ("--labeled-data", single, "--image-dir", items.parent, "--keras-model", checkpoint)
    assert refused("evaluate", *words) == [
        "no query has another picture of its item in the gallery; give some items a second one"
    ]


# --- index and search


def test_search_finds_the_picture_itself_first(index, catalogue):
    picture = catalogue.pictures[5]
    path = catalogue.path_of(picture)
    (found,) = json.loads(done("search", "--index", index, "-k", 3, "--json", path).stdout)
    assert found["query"] == str(path)
    assert [result["rank"] for result in found["results"]] == [1, 2, 3]
    assert found["results"][0]["filename"] == picture.filename
    assert found["results"][0]["distance"] < 1e-3
    assert picture.filename in done("search", "--index", index, path).stdout


def test_search_shows_results_as_page_and_picture(index, catalogue, tmp_path):
    path = catalogue.path_of(catalogue.pictures[0])
    for name in ("results.html", "results.png"):
        words = ("--image-dir", catalogue.image_dir, "--output", tmp_path / name)
        done("search", "--index", index, *words, path)
        assert (tmp_path / name).stat().st_size > 1000
    assert "--image-dir" in refused("search", "--index", index, "--output", "r.html", path)[0]
    assert ".csv or .jsonl" in refused("search", "--index", index, "--output", "r.gif", path)[0]


def test_search_for_a_list_leaves_out_own_items_and_writes_rows(items, index, catalogue, tmp_path):
    words = ("search", "--index", index, "--queries", items, "-k", 3, "--exclude-own-item")
    done(*words, "--output", tmp_path / "results.csv", "--any-label", "disc")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * len(catalogue.pictures)
    own = {str(catalogue.path_of(picture)): picture.item_id for picture in catalogue.pictures}
    for query, _, _, item_id, _, labels in (line.split(",") for line in lines[1:]):
        assert item_id != own[query] and item_id.endswith("disc") and labels == "disc"


def test_search_options_that_leave_nothing_or_cannot_be(index, catalogue):
    path = catalogue.path_of(catalogue.pictures[0])
    other = catalogue.path_of(catalogue.pictures[10])
    words = ("search", "--index", index, path)
    assert "nothing found" in done(*words, "--no-label", "square", "--max-distance", 0).stdout
    assert "a number from 0 to 2" in refused(*words, "--max-distance", "near")[0]
    assert "has no calibration" in refused(*words, "--max-distance", "calibrated")[0]
    assert "no picture to search for" in refused("search", "--index", index)[0]
    both = (*words, other, "--image-dir", catalogue.image_dir, "--together")
    assert "belong to several items" in refused(*both, "--exclude-own-item")[0]
    (found,) = json.loads(done(*words, other, "--together", "--offset", 2, "--json").stdout)
    assert [result["rank"] for result in found["results"]][:2] == [3, 4]


def test_index_updates(items, checkpoint, tmp_path):
    words = ("index", "--labeled-data", items, "--keras-model", checkpoint, "--update", "--json")
    words += ("--backend", "faiss", "--output", tmp_path / "i.faiss")
    first, again = (json.loads(done(*words).stdout) for _ in range(2))
    assert (first["backend"], first["changes"]) == ("faiss", None)
    assert again["changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert (again["pictures"], again["path"]) == (48, str(tmp_path / "i.faiss"))


def test_index_augments_its_vectors(items, index, catalogue, checkpoint, tmp_path):
    mixed = tmp_path / "search_index.pkl"
    words = ("--keras-model", checkpoint, "--output", mixed, "--augment-gallery")
    done("index", "--labeled-data", items, *words)
    path = catalogue.path_of(catalogue.pictures[0])
    for file, itself in ((index, True), (mixed, False)):
        (found,) = json.loads(done("search", "--index", file, "-k", 48, "--json", path).stdout)
        nearest = min(result["distance"] for result in found["results"])
        assert (nearest < 1e-5) == itself


@pytest.mark.parametrize("rerank", ["none", "expansion", "reciprocal"])
def test_search_ranks_items_and_reranks(index, catalogue, rerank):
    path = catalogue.path_of(catalogue.pictures[5])
    words = ("search", "--index", index, "-k", 5, "--rerank", rerank, "--json")
    (found,) = json.loads(done(*words, path).stdout)
    assert [result["rank"] for result in found["results"]] == [1, 2, 3, 4, 5]
    for by_item in ("best", "mean"):
        (found,) = json.loads(done(*words, "--by-item", by_item, path).stdout)
        assert len({result["item_id"] for result in found["results"]}) == 5
        assert list(found["results"][0]) == ["rank", "distance", "item_id", "filename", "labels"]


def test_results_without_their_pictures_are_refused(index, catalogue, tmp_path):
    path = catalogue.path_of(catalogue.pictures[0])
    words = ("--image-dir", tmp_path, "--output", tmp_path / "results.html")
    assert (
        "contains none of the pictures found"
        in refused("search", "--index", index, *words, path)[0]
    )
    assert not (tmp_path / "results.html").exists()


def test_a_report_needs_something_to_compare(items, tmp_path):
    (line,) = refused("report", "--labeled-data", items, "--output", tmp_path / "report")
    assert "--keras-model" in line
    assert not (tmp_path / "report").exists()


def test_search_refuses_another_model(index, catalogue, checkpoint, tmp_path):
    import keras

    from siamese.models.checkpoints import save_model
    from siamese.models.embedding_model import embedding_model

    keras.utils.set_random_seed(4)
    save_model(embedding_model("base_cnn", 32, embedding_size=16), tmp_path / "other.hdf5")
    path = catalogue.path_of(catalogue.pictures[0])
    (line,) = refused("search", "--index", index, "--keras-model", tmp_path / "other.hdf5", path)
    assert f"{index}: made by the model '{checkpoint}'" in line
    assert "not by 'other.hdf5'" in line


def test_search_says_where_a_model_that_moved_was(items, network, tmp_path):
    from siamese.models.checkpoints import save_model

    model, index = tmp_path / "model.hdf5", tmp_path / "index.pkl"
    save_model(network, model)
    done("index", "--labeled-data", items, "--keras-model", model, "--output", index)
    model.rename(tmp_path / "moved.hdf5")
    picture = items.parent / "red-disc-0.png"
    (line,) = refused("search", "--index", index, picture)
    assert str(model) in line
    assert "--keras-model" in line
    done("search", "--index", index, "--keras-model", tmp_path / "moved.hdf5", picture)


def test_search_names_every_query_that_is_no_picture(index, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    lines = refused("search", "--index", index, tmp_path / "text.jpg", tmp_path / "gone.jpg")
    assert ["text.jpg: not a picture" in lines[0], "gone.jpg: file missing" in lines[1]] == [
        True
    ] * 2


def test_search_never_runs_what_an_index_holds(catalogue, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch '{tmp_path}/ran'",)

    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps({"metadata": [], "index": Hostile()}))
    path = catalogue.path_of(catalogue.pictures[0])
    (line,) = refused("search", "--index", tmp_path / "hostile.pkl", path)
    assert "hostile.pkl" in line
    assert not (tmp_path / "ran").exists()


def test_skipped_pictures_are_named_and_the_exit_code_says_so(catalogue, checkpoint, tmp_path):
    form = {"a": {"images": [{"filename": p.filename} for p in catalogue.pictures[:3]]}}
    form["a"]["images"].append({"filename": "gone.png"})
    (tmp_path / "items.json").write_text(json.dumps(form))
    result = siamese(
        *("index", "--labeled-data", tmp_path / "items.json", "--keras-model", checkpoint),
        *("--image-dir", catalogue.image_dir, "--output", tmp_path / "index.pkl", "--json"),
    )
    assert result.exit_code == 3
    assert json.loads(result.stdout)["pictures"] == 3
    assert "skipped: item a, file gone.png: file missing" in result.stderr
    assert json.loads((tmp_path / "index.skipped.json").read_text())[0]["filename"] == "gone.png"


# --- where nothing can be written


@pytest.fixture(scope="module")
def photos(items, tmp_path_factory):
    """A folder with a folder an item in it."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copytree(items.parent, folder / "shapes")
    return folder


@pytest.fixture
def writing_verbs(items, checkpoint, photos):
    """The words of a verb that writes to an output."""
    data, model = ("--labeled-data", items), ("--keras-model", checkpoint)

    def words(verb: str, output: Path) -> tuple[object, ...]:
        return {
            "split": (*data, "--output", output),
            "from-folder": (photos, "--output", output / "items.json"),
            "train": (*data, *SMALL, "--epochs", 1, "--output", output),
            "export": ("savedmodel", *model, "--output", output),
            "embed": (*data, *model, "--output", output),
            "index": (*data, *model, "--output", output / "index.pkl"),
            "report": (*data, *model, "--output", output),
        }[verb]

    return words


@pytest.mark.parametrize(
    "verb", ["split", "from-folder", "train", "export", "embed", "index", "report"]
)
def test_an_output_that_cannot_be_is_one_line(verb, writing_verbs, tmp_path, monkeypatch):
    monkeypatch.setattr("siamese.cli.export.model_context", None)  # said before Keras is loaded
    (tmp_path / "file").write_text("")
    (line,) = refused(verb, *writing_verbs(verb, tmp_path / "file"))
    assert "cannot be written" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def full_disk(tmp_path):
    """A folder with next to no room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; it takes root")
    (folder / "ballast").write_bytes(bytes(4096))
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("verb", ["split", "train", "export", "embed", "index"])
def test_a_full_disk_is_one_line_and_nothing_is_left(verb, writing_verbs, full_disk):
    (line,) = refused(verb, *writing_verbs(verb, full_disk))
    assert "cannot be written (No space left on device)" in line
    left = {path.name for path in full_disk.rglob("*") if path.is_file()}
    assert left <= {"ballast", "training_log.csv", "manifest.json", ".lock"}


# --- as processes


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    # A process inherits what is ignored, and a shell's background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "siamese", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.long
def test_a_killed_training_goes_on(items, tmp_path):
    words = ("train", "--labeled-data", items, *SMALL, "--epochs", 3, "--batch-size", 8)
    process = start(*words, cwd=tmp_path)
    output = tmp_path / "checkpoints"
    while not (output / "training_state.hdf5").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (output / "final_model.hdf5").exists()
    (line,) = refused(*words, "--output", output)
    assert re.search("epoch [12] of 3", line) and "--resume" in line
    data = ("--labeled-data", items, "--output", output)
    told = json.loads(done("train", *data, "--resume", "--json").stdout)
    assert [row["epoch"] for row in told["history"]] == [0, 1, 2, 3]
    assert Path(told["model"]).is_file()


@pytest.mark.long
def test_a_killed_export_leaves_no_version_and_is_no_hindrance(checkpoint, tmp_path):
    words = ("export", "savedmodel", "--keras-model", checkpoint)
    process = start(*words, cwd=tmp_path)
    output = tmp_path / "savedmodels" / "embedding_model"
    while not list(output.glob(".*.tmp/*")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [path for path in output.iterdir() if not path.name.startswith(".")] == []
    done(*words, "--output", output)
    assert (output / "1" / "saved_model.pb").is_file()


def test_two_runs_at_once_leave_one_whole_index(checkpoint, items, tmp_path):
    words = ("index", "--labeled-data", items, "--keras-model", checkpoint, "--json")
    codes = []
    for process in [start(*words, cwd=tmp_path) for _ in range(2)]:
        told, said = process.communicate()
        codes.append(process.returncode)
        if process.returncode:  # they met; otherwise one came after the other
            assert "search_index.embeddings: another run is writing to it" in said
        else:
            assert json.loads(told)["pictures"] == 48  # one document, and nothing else
    assert sorted(codes) in ([0, 0], [0, 2])
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["search_index.embeddings", "search_index.pkl"]
    done("search", "--index", tmp_path / "search_index.pkl", items.parent / "red-disc-0.png")


def test_ctrl_c_is_one_line_and_its_own_exit_code(items, tmp_path):
    process = start("train", "--labeled-data", items, *SMALL, "--epochs", 999, cwd=tmp_path)
    assert process.stderr is not None
    seen = ""
    while "epoch 1: " not in seen:
        seen += process.stderr.read(1)
        assert process.poll() is None, seen
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("stopped; ")
