"""The images, run with a real Docker engine as an ordinary user."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
from pathlib import Path

import pytest

from tests.docker.conftest import IMAGE, user

BALLTREE = ("--export", "balltree", "--labeled-data", "/data/items.json")
PHOTOS = ("--image-dir", "/data/photos")


def inspected(form: str) -> str:
    command = ["docker", "image", "inspect", "--format", form, IMAGE]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def index_of(data: Path) -> dict:
    return pickle.loads((data / "search_index.pkl").read_bytes())


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in (folder, *folder.rglob("*"))}


def test_the_image_is_labelled_and_does_not_run_as_root():
    labels = json.loads(inspected("{{json .Config.Labels}}"))
    assert "Image Similarity" in labels["org.opencontainers.image.title"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert inspected("{{.Config.User}}") == "1000"


def test_an_init_process_runs_the_command(run):
    done = run("python", "-c", "print(open('/proc/1/comm').read())")
    assert done.stdout.strip() == "tini"


def test_the_image_contains_only_the_code(run):
    done = run("find", "/app", "-maxdepth", "1")
    names = {Path(line).name for line in done.stdout.split()}
    assert names == {
        "app",
        "LICENSE",
        "README.md",
        "docker",
        "examples",
        "notebooks",
        "siamese",
        "utilities.py",
    }


def test_without_arguments_the_help_is_printed(run):
    assert "search by picture" in run().stdout
    assert run("siamese", "--version").stdout.startswith("siamese, version")


@pytest.mark.timeout(1800)
def test_the_fast_tests_pass_in_the_image(run):
    words = ("-q", "-p", "no:cacheprovider", "-n", "2", "-m", "not slow and not long")
    done = run("python", "-m", "pytest", *words, image=f"{IMAGE}-test")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_written_files_belong_to_the_user(run, data):
    exported = run("--export", "savedmodel", data=data)
    assert exported.returncode == 0, exported.stderr
    assert (data / "savedmodels/embedding_model/1/saved_model.pb").is_file()

    indexed = run(*BALLTREE, *PHOTOS, data=data)
    assert indexed.returncode == 3, indexed.stderr
    assert "red-disc-0.png" in indexed.stderr
    assert len(index_of(data)["metadata"]) == 47

    query = "/data/photos/blue-disc-2.png"
    found = run(
        "siamese", "search", "--index", "/data/search_index.pkl", "--json", query, data=data
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["results"][0]["filename"] == "blue-disc-2.png"
    assert owners(data) == {user()}


def test_read_only_data_works_with_another_output(run, data, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o777)
    mounts = ("--volume", f"{data}:/data:ro", "--volume", f"{results}:/results")
    done = run(*BALLTREE, *PHOTOS, "--output", "/results/index.pkl", options=mounts)
    assert done.returncode == 3, done.stderr
    assert (results / "index.pkl").stat().st_uid == user()


def test_an_unwritable_output_is_reported_before_any_work(run, data):
    for options in ((), ("--volume", f"{data}:/data:ro")):
        done = run(*BALLTREE, *PHOTOS, options=options)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "-v /my/data:/data" in done.stderr and "--output" in done.stderr
    done = run(
        *BALLTREE, *PHOTOS, "--output", "/data/index.pkl", options=("--volume", f"{data}:/data:ro")
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: /data/index.pkl: cannot be written (Read-only file system); choose another path\n"
    )


def test_a_stopped_container_can_be_continued(run, many):
    name = f"siamese-test-{time.time_ns()}"
    words = ["docker", "run", "--name", name, "--user", f"{user()}:{user()}"]
    command = [*words, "--volume", f"{many}:/data", IMAGE, *BALLTREE, *PHOTOS]
    try:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
            store = many / "search_index.embeddings"
            deadline = time.monotonic() + 300
            while not list(store.glob("*.parquet")) and time.monotonic() < deadline:
                assert started.poll() is None, started.stderr.read()
                time.sleep(0.2)
            stopped = time.monotonic()
            subprocess.run(["docker", "stop", name], check=True, capture_output=True)
            assert time.monotonic() - stopped < 10
            stderr = started.stderr.read()
        assert started.returncode == 143, stderr
        assert "stopped" in stderr and "Traceback" not in stderr
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True)
    files = {path.name for path in many.iterdir()}
    assert files == {"items.json", "photos", "search_index.embeddings"}

    done = run(*BALLTREE, *PHOTOS, data=many)
    assert done.returncode == 0, done.stderr
    assert "already" in done.stderr
    assert len(index_of(many)["metadata"]) == 1500
    assert owners(many) == {user()}
