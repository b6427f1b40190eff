from __future__ import annotations

from siamese.utils.text import counted


def test_one_is_one_and_thousands_are_readable():
    assert counted(1, "picture") == "1 picture"
    assert counted(0, "error") == "0 errors"
    assert counted(5407, "picture") == "5,407 pictures"
