from __future__ import annotations

import json
import shutil

from siamese.data.catalogue import Catalogue
from siamese.data.check import check_catalogue
from siamese.embedding.embed_catalogue import embed_catalogue


def test_failed_request_is_not_repeated_to_decode(embedder, photos, server):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    name = catalogue.pictures[0].filename
    server.failures[name] = [503] * 100
    done = embed_catalogue(embedder, catalogue)
    assert [skipped.filename for skipped in done.skipped] == [name]
    tries = 3
    assert server.requests["GET", name] == tries  # fsspec sends them if HEAD fails
    assert server.requests["HEAD", name] == tries


def test_check_downloads_each_picture_once(photos, server):
    twin = photos / "twin.png"
    listed = json.loads((photos / "items.json").read_text())
    first = listed[next(iter(listed))]["images"]
    shutil.copy(photos / first[0]["filename"], twin)
    first.append({"filename": twin.name})
    (photos / "items.json").write_text(json.dumps(listed))
    report = check_catalogue(photos / "items.json", server.url)
    assert ["same bytes" in problem.problem for problem in report.warnings] == [True]
    gets = {name: count for (method, name), count in server.requests.items() if method == "GET"}
    assert set(gets.values()) == {1} and len(gets) == report.pictures
