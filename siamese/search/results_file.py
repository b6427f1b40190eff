"""Files of search results for other programs, in CSV or JSON Lines format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    from siamese.search.searcher import QueryResult

COLUMNS = ("query", "rank", "distance", "item_id", "filename", "labels")
SUFFIXES = (".csv", ".jsonl")


def write_results(results: Iterable[QueryResult], path: Path) -> None:
    """Write results as they arrive, to a file that appears only once it is complete.

    A .csv file has one row per result, with the labels separated by ``|``. A .jsonl file has one
    line per query, as returned by `QueryResult.as_dict`.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            _write_csv(results, temporary)
        else:
            with temporary.open("w", encoding="ascii") as file:
                # Use the standard encoder, which escapes filenames that are not valid UTF-8.
                file.writelines(json.dumps(query.as_dict()) + "\n" for query in results)


def _write_csv(results: Iterable[QueryResult], path: Path) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for query in results:
            for found in query.results:
                distance, labels = f"{found.distance:.6f}", "|".join(found.labels)
                writer.writerow(
                    (query.query, found.rank, distance, found.item_id, found.filename, labels)
                )
