from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from siamese.utils import progress as module
from siamese.utils.progress import progress_bar


def test_log_gets_occasional_whole_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.1)
    with progress_bar("embedding", 20) as bar:
        for _ in range(20):
            time.sleep(0.02)
            bar.update()
    out, said = capsys.readouterr()
    lines = said.splitlines()
    assert out == ""
    assert 1 <= len(lines) <= 4
    assert all(line.startswith("embedding: ") and "pictures/s" in line for line in lines)
    assert "\r" not in said


def test_short_work_logs_nothing(capsys: pytest.CaptureFixture[str]):
    with progress_bar("embedding", 3) as bar:
        bar.update(3)
    stopped = progress_bar("embedding", 3)
    stopped.update()
    stopped.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["terminal", "notebook"])
def test_terminal_and_notebook_get_a_bar_that_disappears(
    where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if where == "terminal":
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    else:
        shell = SimpleNamespace(kernel=None)
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    with progress_bar("embedding", 3) as bar:
        bar.update(3)
    said = capsys.readouterr().err
    assert "embedding" in said
    assert said.rpartition("\r")[2].strip() == "" and "\n" not in said
