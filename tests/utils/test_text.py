from __future__ import annotations

from siamese.utils.text import pluralize


def test_pluralize():
    assert pluralize(1, "picture") == "1 picture"
    assert pluralize(0, "error") == "0 errors"
    assert pluralize(5407, "picture") == "5,407 pictures"
    assert pluralize(2, "query", "queries") == "2 queries"
