"""After any sequence of changes an index answers like a list and a sort."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from siamese.indexes import BACKENDS, LabelFilter, open_index
from siamese.indexes.faiss import layout as faiss_layout
from siamese.indexes.update import update_index
from tests.indexes.conftest import facts

SIZE = 6
NAMES = st.sampled_from([f"{number}.jpg" for number in range(30)])
LABEL_SETS = st.sets(st.sampled_from(["red", "pink", 'a "b"']))


class ChangingIndex(RuleBasedStateMachine):
    """An index of one backend, and a dictionary of what must be in it."""

    backend: str
    tolerance: float

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.place = self.folder / "index"
        self.rng = np.random.default_rng(0)
        self.content = 0

    def picture(self, labels):
        vector = self.rng.normal(size=SIZE)
        self.content += 1
        return (
            (vector / np.linalg.norm(vector)).astype(np.float32),
            sorted(labels),
            self.content.to_bytes(16, "big"),
        )

    @initialize(names=st.sets(NAMES, min_size=1), labels=LABEL_SETS)
    def build(self, names, labels):
        self.expected = {name: self.picture(labels) for name in sorted(names)}
        self.index = BACKENDS[self.backend].build(
            self.place, *self.parts(self.expected), facts(SIZE)
        )
        self.index = None  # the last reference keeps Milvus Lite running
        self.index = open_index(self.place)

    def parts(self, pictures):
        vectors = [vector for vector, _, _ in pictures.values()]
        metadata = [
            {"item_id": f"item {int(name[0]) % 3}", "filename": name, "labels": labels}
            for name, (_, labels, _) in pictures.items()
        ]
        contents = [content for _, _, content in pictures.values()]
        return np.reshape(vectors, (-1, SIZE)).astype(np.float32), metadata, contents

    @rule(names=st.sets(NAMES, min_size=1, max_size=5), labels=LABEL_SETS)
    def add(self, names, labels):
        new = {name: self.picture(labels) for name in sorted(names) if name not in self.expected}
        if new:
            self.index.add(*self.parts(new))
            self.expected |= new

    @rule(names=st.sets(NAMES, max_size=5))
    def remove(self, names):
        gone = [name for name in sorted(names) if name in self.expected]
        if len(gone) < len(self.expected):  # a balltree cannot be empty
            rows = [row for name in gone for row in self.index.find(filename=name)]
            self.index.remove(rows)
            for name in gone:
                del self.expected[name]

    @rule(changed=st.dictionaries(NAMES, LABEL_SETS, max_size=4), gone=st.sets(NAMES, max_size=4))
    def update(self, changed, gone):
        new = {name: one for name, one in self.expected.items() if name not in gone}
        new |= {name: self.picture(labels) for name, labels in changed.items()}
        if not new:
            return
        added = len(new.keys() - self.expected.keys())
        removed = len(self.expected.keys() - new.keys())
        changes = update_index(self.index, *self.parts(new))
        assert changes == (added, len(changed.keys() & self.expected.keys()), removed)
        self.expected = new

    @rule()
    def save(self):
        self.index.save()

    @rule()
    def reopen(self):
        self.index.save()
        self.index = None
        self.index = open_index(self.place)

    @invariant()
    def answers_as_a_list_and_a_sort(self):
        if not hasattr(self, "expected"):
            return
        vectors, metadata, _ = self.parts(self.expected)
        query = self.rng.normal(size=SIZE)
        query /= np.linalg.norm(query)
        for labels in (LabelFilter(), LabelFilter.from_lists(any_of=["red"], none_of=['a "b"'])):
            matching = [
                row
                for row, picture in enumerate(metadata)
                if not labels or ("red" in picture["labels"] and 'a "b"' not in picture["labels"])
            ]
            expected = np.sort(np.linalg.norm(vectors[matching] - query, axis=1))
            (distances,), (rows,) = self.index.query(query[None], 99, labels)
            np.testing.assert_allclose(distances, expected, atol=self.tolerance)
            found = self.index.metadata_of(rows)
            assert sorted(picture["filename"] for picture in found) == sorted(
                metadata[row]["filename"] for row in matching
            )
        assert len(self.index) == len(self.expected)

    def teardown(self):
        self.index = None
        shutil.rmtree(self.folder)


@pytest.mark.parametrize(
    ("backend", "examples", "tolerance"),
    [("balltree", 15, 1e-6), ("faiss", 25, 1e-5), ("faiss graph", 40, 3e-3), ("milvus", 4, 1e-3)],
)
def test_any_sequence_of_changes(backend, examples, tolerance, monkeypatch):
    if backend == "faiss graph":
        monkeypatch.setattr(faiss_layout, "MAX_EXACT", 8)
    kind = type(
        "ChangingIndex", (ChangingIndex,), {"backend": backend.split()[0], "tolerance": tolerance}
    )
    case = kind.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=15,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
