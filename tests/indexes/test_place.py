from __future__ import annotations

from pathlib import Path

from siamese.indexes.place import embeddings_folder, is_address, skipped_list


def test_each_collection_has_its_own_files(tmp_path):
    place = tmp_path / "a.milvus"
    assert embeddings_folder(place) == tmp_path / "a.embeddings"
    assert embeddings_folder(place, "shoes") == tmp_path / "a.shoes.embeddings"
    assert skipped_list(place, "shoes") == tmp_path / "a.shoes.skipped.json"
    assert embeddings_folder("http://host:19530", "shoes") == Path("shoes.embeddings")


def test_an_address_is_told_from_a_path():
    for address in ("http://host:19530", "HTTPS://a@b/db", "tcp://host", "unix:/run/milvus"):
        assert is_address(address)
    for path in ("search_index.pkl", "http", "ftp://host", Path("a/b")):
        assert not is_address(path)
