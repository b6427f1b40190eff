"""The command as a user has it: words in, text, files and exit codes out."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from siamese.cli import cli

ROOT = Path(__file__).resolve().parent.parent
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
    assert ".html or .png" in refused("search", "--index", index, "--output", "r.gif", path)[0]


def test_search_refuses_another_model(index, catalogue):
    path = catalogue.path_of(catalogue.pictures[0])
    other = ("--backbone", "base_cnn", "--picture-size", 32)
    (line,) = refused("search", "--index", index, *other, path)
    assert str(index) in line
    assert "model" in line


def test_search_says_where_a_model_that_moved_was(items, network, tmp_path):
    from siamese.checkpoints import save_model

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


# --- as processes


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "siamese", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_a_killed_index_run_leaves_nothing_that_looks_finished(checkpoint, catalogue, tmp_path):
    names = [{"filename": picture.filename} for picture in catalogue.pictures]
    form = {"item": {"images": names * 400}}  # long enough to be caught at it
    (tmp_path / "items.json").write_text(json.dumps(form))
    process = start(
        *("index", "--labeled-data", "items.json", "--image-dir", catalogue.image_dir),
        *("--keras-model", checkpoint),
        cwd=tmp_path,
    )
    assert process.stderr is not None
    seen = ""
    while "embedding" not in seen:
        seen += process.stderr.read(1)
        assert process.poll() is None, seen
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("search_index*"))


def test_two_runs_at_once_leave_one_whole_index(checkpoint, items, tmp_path):
    words = ("index", "--labeled-data", items, "--keras-model", checkpoint)
    for process in [start(*words, cwd=tmp_path) for _ in range(2)]:
        assert "48 pictures" in process.communicate()[0]
        assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["search_index.pkl"]
    done("search", "--index", tmp_path / "search_index.pkl", items.parent / "red-disc-0.png")
