from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from siamese.errors import InputError


def test_message_has_all_lines():
    assert InputError("one").lines == ["one"]
    assert str(InputError(f"problem {n}" for n in (1, 2))) == "problem 1\nproblem 2"


def test_notebook_shows_lines_without_traceback(capsys):
    InteractiveShell.instance().run_cell(
        "from siamese.errors import InputError\nraise InputError(['no file', 'no item'])"
    )
    shown = "".join(capsys.readouterr())
    assert "error: no file\nerror: no item" in shown
    assert "Traceback" not in shown and "raise InputError" not in shown
