from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from siamese.utils.templates import render


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a package with a template."""
    folder = tmp_path / "package_with_templates"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "templates" / "page.html").write_text("<p>{{ text }}</p>")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_values_are_escaped(package: str) -> None:
    assert render(package, "page.html", text="a < b") == "<p>a &lt; b</p>"


def test_missing_value_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        render(package, "page.html")
