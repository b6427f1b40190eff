"""Parser for CSV catalogues that reports all problems at once."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from siamese.data.catalogue_json import (
    Image,
    Item,
    decode_text,
    find_filename_problem,
    find_id_problem,
)
from siamese.errors import InputError


def parse_csv(data: bytes, path: Path) -> dict[str, Item]:
    """Parse a CSV catalogue; see `Catalogue.from_csv` for the format."""
    rows = csv.reader(io.StringIO(decode_text(data, path), newline=""), strict=True)
    filenames: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    problems: list[str] = []
    try:
        header = [name.strip() for name in next(rows, [])]
        if missing := {"item_id", "filename"} - set(header):
            raise InputError(
                f"{path}: line 1: no column {' and no column '.join(sorted(missing))}; "
                "the header must be item_id,filename,labels"
            )
        for row in filter(None, rows):
            where = f"{path}: line {rows.line_num}"
            if len(row) != len(header):
                problems.append(f"{where}: {len(row)} columns, the header has {len(header)}")
                continue
            cells = dict(zip(header, map(str.strip, row), strict=True))
            item_id, filename = cells["item_id"], cells["filename"]
            for problem in (find_id_problem(item_id), find_filename_problem(filename)):
                if problem:
                    problems.append(f"{where}: {problem.problem}")
            filenames.setdefault(item_id, []).append(filename)
            found = re.split(r"\s*[|;]\s*", cells.get("labels", ""))
            labels.setdefault(item_id, []).extend(filter(None, found))
    except csv.Error as error:
        problems.append(f"{path}: line {rows.line_num}: {error}")
    if not filenames and not problems:
        problems.append(f"{path}: no rows below the header")
    if problems:
        raise InputError(problems)
    return {
        item_id: Item(tuple(map(Image, images)), tuple(dict.fromkeys(labels[item_id])))
        for item_id, images in filenames.items()
    }
