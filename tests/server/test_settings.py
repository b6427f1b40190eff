"""Where API keys come from."""

from __future__ import annotations

import pytest

from siamese.errors import InputError
from siamese.server.settings import API_KEY, read_api_keys


def test_keys_come_from_the_environment_or_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv(API_KEY, raising=False)
    assert read_api_keys(None) == ()
    monkeypatch.setenv(API_KEY, "of-the-environment")
    assert read_api_keys(None) == ("of-the-environment",)
    file = tmp_path / "keys"
    file.write_text("one\n\n  two\n")
    assert read_api_keys(file) == ("one", "two")
    for content in ("", "\n", "two words\n", "grün\n"):
        file.write_text(content)
        with pytest.raises(InputError):
            read_api_keys(file)
    with pytest.raises(InputError, match="--api-key-file"):
        read_api_keys(tmp_path / "none")
