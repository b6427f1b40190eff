from __future__ import annotations

import csv
import json
import os

import pytest

from siamese.errors import InputError
from siamese.search.results_file import write_results


def test_results_are_written_as_csv_or_json_lines(searcher, photos, tmp_path):
    found = searcher.search([photos / "red/1.png", photos / "blue/1.png"], 2)
    write_results(iter(found), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    expected = [(query, result) for query in found for result in query.results]
    for row, (query, result) in zip(rows, expected, strict=True):
        assert row == {
            "query": query.query,
            "rank": str(result.rank),
            "distance": f"{result.distance:.6f}",
            "item_id": result.item_id,
            "filename": result.filename,
            "labels": "a|b",
        }
    write_results(iter(found), tmp_path / "results.jsonl")
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [query.as_dict() for query in found]

    def broken():
        yield found[0]
        raise InputError("stopped")

    before = (tmp_path / "results.csv").read_bytes()
    with pytest.raises(InputError, match="stopped"):
        write_results(broken(), tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_name_that_is_not_valid_utf_8_is_escaped(searcher, photos, tmp_path, suffix):
    (found,) = searcher.search_vectors(
        searcher.index.vectors([0]), 1, names=[os.fsdecode(b"caf\xe9.png")]
    )
    write_results([found], tmp_path / f"results{suffix}")
    assert "\\udce9.png" in (tmp_path / f"results{suffix}").read_text("utf-8")
