"""The facts about a model are written as a plain dictionary and read back."""

from __future__ import annotations

import pytest

from siamese.models.facts import ModelFacts

FACTS = ModelFacts("final_model.hdf5", "f" * 64, 8, 32, None)


def test_the_dictionary_is_read_back():
    document = FACTS.as_dict()
    assert [type(value) for value in document.values()] == [str, str, int, int, type(None)]
    assert ModelFacts.from_dict({**document, "of a newer version": 1}) == FACTS


@pytest.mark.parametrize(
    "document", ["a model", {}, FACTS.as_dict() | {"embedding_size": "8"}], ids=str
)
def test_a_malformed_dictionary_is_refused_in_one_line(document):
    with pytest.raises(ValueError, match=r"invalid: [^\n]+$"):
        ModelFacts.from_dict(document)
