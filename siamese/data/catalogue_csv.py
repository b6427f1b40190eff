"""Parse the CSV form of a catalogue, and list all its problems."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from siamese.data.catalogue_json import decode_text, find_filename_problem, find_id_problem
from siamese.errors import InputError


def parse_csv(data: bytes, path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Parse the CSV form of a catalogue; see `Catalogue.from_csv`.

    Parameters
    ----------
    data : bytes
        Content of the CSV file.
    path : Path
        The file, for errors.

    Returns
    -------
    dict of str to tuple
        Filenames and labels of each item, by item id.

    Raises
    ------
    InputError
        One line for each error, with its line number.
    """
    text, _ = decode_text(data, path)
    items: dict[str, tuple[list[str], list[str]]] = {}
    problems: list[str] = []
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in _read_rows(rows, path, problems):
            item_id, filename = cells["item_id"].strip(), cells["filename"].strip()
            for problem in (find_id_problem(item_id), find_filename_problem(filename)):
                if problem:
                    problems.append(f"{path}: line {rows.line_num}: {problem.problem}")
            filenames, labels = items.setdefault(item_id, ([], []))
            filenames.append(filename)
            for label in map(str.strip, re.split(r"[|;]", cells.get("labels", ""))):
                if label and label not in labels:
                    labels.append(label)
    except csv.Error as error:
        problems.append(f"{path}: line {rows.line_num}: {error}")
    if not items and not problems:
        problems.append(f"{path}: no rows below the header")
    if problems:
        raise InputError(problems)
    return items


def _read_rows(rows: Any, path: Path, problems: list[str]) -> Iterator[dict[str, str]]:
    """Yield the rows below the header by column name; add malformed rows to `problems`."""
    header = [name.strip() for name in next(rows, [])]
    if missing := {"item_id", "filename"} - set(header):
        raise InputError(
            f"{path}: line 1: no column {' and no column '.join(sorted(missing))}; "
            "the header must be item_id,filename,labels"
        )
    for row in rows:
        if not row:
            continue
        if len(row) == len(header):
            yield dict(zip(header, row, strict=True))
        else:
            problems.append(
                f"{path}: line {rows.line_num}: {len(row)} columns, the header has {len(header)}"
            )
