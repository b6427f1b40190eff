"""The train command."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, fail, start, succeed

pytestmark = pytest.mark.slow

EAGER = "import tensorflow as tf; tf.config.run_functions_eagerly(True)"
"""Program that trains without compiling graphs, as the fixture `eager` does."""


def test_train_writes_a_model_for_the_other_commands(items_json, tmp_path, eager):
    output = tmp_path / "checkpoints"
    arguments = ("--labeled-data", items_json, "--output", output, *SMALL, "--epochs", 1)
    arguments += ("--held-out-share", 0.34, "--json")
    document = json.loads(succeed("train", *arguments).stdout)
    assert document["model"] == str(output / "final_model.hdf5")
    assert [row["epoch"] for row in document["history"]] == [0, 1]
    assert "val_map@r" in document["history"][1]
    files = {path.name for path in output.iterdir()}
    assert {"final_model.hdf5", "training_state.hdf5", "training_log.csv"} < files
    model = ("--keras-model", output / "final_model.hdf5")
    evaluated = succeed("evaluate", "--labeled-data", items_json, *model, "--json")
    assert json.loads(evaluated.stdout)["figures"]["queries"] == 48
    exported = succeed("export", "savedmodel", *model, "--output", tmp_path / "models", "--json")
    assert json.loads(exported.stdout)["path"] == str(tmp_path / "models" / "1")


@pytest.mark.long
def test_a_killed_training_can_be_resumed(items_json, tmp_path):
    arguments = ("train", "--labeled-data", items_json, *SMALL, "--epochs", 3, "--batch-size", 8)
    process = start(*arguments, cwd=tmp_path)
    output = tmp_path / "checkpoints"
    while not (output / "training_state.hdf5").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (output / "final_model.hdf5").exists()
    (line,) = fail(*arguments, "--output", output)
    assert re.search("epoch [12] of 3", line) and "--resume" in line
    data = ("--labeled-data", items_json, "--output", output)
    document = json.loads(succeed("train", *data, "--resume", "--json").stdout)
    assert [row["epoch"] for row in document["history"]] == [0, 1, 2, 3]
    assert Path(document["model"]).is_file()


def test_ctrl_c_prints_one_line_and_exits_with_130(items_json, tmp_path):
    arguments = ("train", "--labeled-data", items_json, *SMALL, "--epochs", 999)
    process = start(*arguments, cwd=tmp_path, program=EAGER)
    assert process.stderr is not None
    log = ""
    while "epoch 1: " not in log:
        log += process.stderr.read(1)
        assert process.poll() is None, log
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("stopped; ")
