from __future__ import annotations

import msgspec
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import open_index
from siamese.indexes.faiss.index import FaissIndex
from tests.indexes.conftest import SIZE, contents, facts, grouped, pictures
from tests.indexes.faiss.conftest import COUNT, build, read_manifest


def test_a_changed_graph_is_measured_again_and_rebuilt_after_many_removals(
    tmp_path, graphs, capsys
):
    index = build(tmp_path / "index")
    more = grouped(20, seed=3)
    index.add(more, [{"item_id": "new", "filename": f"{n}", "labels": []} for n in range(20)])
    index.save()
    assert read_manifest(tmp_path / "index")["unmeasured"] == 0
    assert read_manifest(tmp_path / "index")["found"]["queries"] == 320
    index.remove(index.find(item_id="new")[:10])
    index.save()
    assert (read_manifest(tmp_path / "index")["rows"], len(index)) == (320, 310)  # not rebuilt yet
    index.remove(np.arange(100))
    index.save()
    opened = open_index(tmp_path / "index")
    assert read_manifest(tmp_path / "index")["rows"] == len(opened) == 210
    assert len(opened.find(item_id="new")) == 10 and not len(opened.find(item_id="item 3"))
    _, rows = opened.query(more[10:], 1)
    assert [one["item_id"] for one in opened.metadata_of(rows.ravel())] == ["new"] * 10
    # A growing exact index gets a graph.
    few = build(tmp_path / "few", 40)
    few.add(grouped(4, seed=5), [{**one, "item_id": "more"} for one in pictures(4)])
    few.save()
    assert read_manifest(tmp_path / "few")["found"]["kind"] == "graph"


def test_an_open_index_does_not_change_when_another_is_saved(folder):
    reader = open_index(folder)
    before = reader.query(grouped(5, seed=1), 3)
    writer = open_index(folder)
    writer.remove(np.arange(200))
    writer.save()
    for one, other in zip(before, reader.query(grouped(5, seed=1), 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (len(reader), len(open_index(folder))) == (COUNT, 100)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "manifest.json",
        "pictures-00002.arrow",
        "vectors-00002.faiss",
    ]
    reader.remove([0])
    with pytest.raises(InputError, match="another run has changed it since it was opened"):
        reader.save()


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"has other files in it, such as a\.jpg"):
        build(tmp_path / "photos", 20)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(InputError, match="no folder yet"):
        FaissIndex.build(grouped(5), pictures(5), facts()).save()
    for words, line in (
        ({"contents": [b"short"] * 5}, "the contents are not 5 hashes of 16 bytes"),
        ({"contents": contents(4)}, "the contents are not 5 hashes of 16 bytes"),
    ):
        with pytest.raises(InputError, match=line):
            FaissIndex.build(grouped(5), pictures(5), facts(), **words)
    with pytest.raises(InputError, match="no pictures to index"):
        FaissIndex.build(np.empty((0, SIZE)), [], facts())


def test_a_higher_min_recall_is_ensured_when_the_index_is_saved(tmp_path, graphs):
    index = build(tmp_path / "index", min_recall=0.5)
    index.layout = msgspec.structs.replace(index.layout, recall=0.6, queries=1)
    index.save()
    assert read_manifest(tmp_path / "index")["found"]["recall"] == 0.6  # enough for the old minimum
    index.min_recall = 0.9
    index.save()
    found = read_manifest(tmp_path / "index")["found"]
    assert found["recall"] >= 0.9 and found["queries"] == COUNT
    assert read_manifest(tmp_path / "index")["min_recall"] == 0.9
