"""The export command."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cli.conftest import start, succeed

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_killed_export_leaves_no_version_and_can_be_repeated(checkpoint, tmp_path):
    arguments = ("export", "savedmodel", "--keras-model", checkpoint)
    process = start(*arguments, cwd=tmp_path)
    output = tmp_path / "savedmodels" / "embedding_model"
    while not list(output.glob(".*.tmp/*")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [path for path in output.iterdir() if not path.name.startswith(".")] == []
    succeed(*arguments, "--output", output)
    assert (output / "1" / "saved_model.pb").is_file()
