"""`siamese serve` as it is typed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import httpx
import pytest
from click.testing import CliRunner

from siamese.cli.main import cli
from siamese.utils.signals import TERMINATED
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_an_index_is_served_with_the_model_that_made_it(catalogue, checkpoint, tmp_path):
    made_in, served_in = tmp_path / "made", tmp_path / "served"
    (made_in / "checkpoints").mkdir(parents=True)
    model = shutil.copy(checkpoint, made_in / "checkpoints")
    made = CliRunner().invoke(
        cli,
        [
            *("index", "--labeled-data", str(catalogue.image_dir / "items.json")),
            *("--keras-model", str(model)),
            *("--output", str(made_in / "search_index.pkl")),
        ],
    )
    assert made.exit_code == 0, made.output
    # As a container sees the folder of the project: all of it at another place.
    made_in.rename(served_in)
    index = served_in / "search_index.pkl"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "siamese", "serve", "--index", index, "--port", "0"),
            *("--image-dir", catalogue.image_dir, "--drain-seconds", "0"),
        ],
        cwd=ROOT,
        env={**os.environ, "SIAMESE_API_KEY": "secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said = process.stdout.readline()
            url, _, rest = said.partition(": ")
            assert rest == f"48 pictures of {index}\n"
            with httpx.Client(base_url=url, headers={"X-API-Key": "secret"}, timeout=60) as client:
                while True:
                    try:
                        about = client.get("/about").json()
                        break
                    except httpx.ConnectError:
                        assert process.poll() is None
                assert about["model"]["name"] == checkpoint.name
                assert about["api_key"] is True
                for picture in catalogue.pictures[::16]:
                    content = catalogue.path_of(picture).read_bytes()
                    found = client.post("/search", files={"image": ("a.png", content)}).json()
                    assert found["results"][0]["filename"] == picture.filename
                    assert found["results"][0]["distance"] < 1e-3
                    shown = client.get(found["results"][0]["image_url"])
                    assert shown.content == content
                assert httpx.get(f"{url}/labels").status_code == 401
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == TERMINATED
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--index", "none.pkl"], "none.pkl"),
        (["--image-dir", "none"], "--image-dir none: no such folder"),
        (["--api-key-file", "none"], "--api-key-file none"),
        (
            ["--tf-serving", "localhost:1", "--backbone", "MobileNetV2"],
            "--backbone and --tf-serving",
        ),
        (["--runtime", "openvino", "--tf-serving", "localhost:1"], "--runtime and --tf-serving"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 8000"),
    ],
)
def test_a_call_that_cannot_be_is_told_in_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["serve", *words])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said in line


def test_tensorflow_serving_alone_is_asked(folder):
    words = ["--index", str(folder / "search_index.pkl"), "--port", "0"]
    address = "http://127.0.0.1:9"
    done = CliRunner().invoke(cli, ["serve", *words, "--tf-serving", address])
    assert done.exit_code == 2
    assert f"error: --tf-serving {address}: " in done.stderr
    assert "refused" in done.stderr
