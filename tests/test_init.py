"""The names of the package are imported on first use."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import siamese


def test_type_checkers_see_the_names_that_are_imported_at_run_time():
    (block,) = (
        node
        for node in ast.parse(Path(siamese.__file__).read_text()).body
        if isinstance(node, ast.If)
    )
    typed = {
        (statement.module, alias.asname) for statement in block.body for alias in statement.names
    }
    assert typed == {(module, name) for name, module in siamese._HOMES.items()}


def test_only_known_names_are_found():
    assert {"Catalogue", "__version__"} <= set(dir(siamese)) == set(siamese.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Catalog'"):
        siamese.Catalog  # noqa: B018


@pytest.mark.parametrize("name", sorted(siamese._REMOVED))
def test_a_removed_loss_says_so_in_one_line(name):
    with pytest.raises(AttributeError, match=f"siamese.{name} was removed .* docs/recipe.md$"):
        getattr(siamese, name)
    assert name not in siamese.__all__
