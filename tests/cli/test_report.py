"""The report command."""

from __future__ import annotations

import pytest

from tests.cli.conftest import fail

pytestmark = pytest.mark.slow


def test_a_model_to_compare_is_required(items_json, tmp_path):
    (line,) = fail("report", "--labeled-data", items_json, "--output", tmp_path / "report")
    assert "--keras-model" in line
    assert not (tmp_path / "report").exists()
