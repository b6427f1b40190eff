"""The results of many searches as a file for other programs: CSV, or JSON lines."""

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


def write_results(found: Iterable[QueryResult], path: Path) -> None:
    """Write results as they come; the file stands under its name only once it is complete.

    Parameters
    ----------
    path : ending in .csv, for a row a result, the labels of its item separated by |; or in .jsonl,
        for a line a query, as `QueryResult.as_dict`

    Raises
    ------
    InputError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            with temporary.open(
                "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                rows = csv.writer(file)
                rows.writerow(COLUMNS)
                for query in found:
                    rows.writerows(
                        (
                            query.query,
                            one.rank,
                            f"{one.distance:.6f}",
                            one.item_id,
                            one.filename,
                            "|".join(one.labels),
                        )
                        for one in query.results
                    )
        else:
            with temporary.open("w", encoding="ascii") as lines:
                # Python's own encoder, which escapes what a name of odd bytes is made of.
                lines.writelines(json.dumps(query.as_dict()) + "\n" for query in found)
