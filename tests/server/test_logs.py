from __future__ import annotations

import json
import logging
import sys

from siamese.server.logs import JsonLines


def test_a_log_record_is_one_line_of_json():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        problem = sys.exc_info()
    record = logging.LogRecord("siamese.server", logging.ERROR, "", 0, "request", (), problem)
    record.fields = {"path": "/a\nb", "status": 500}
    line = JsonLines().format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert list(document) == ["time", "level", "event", "path", "status", "traceback"]
    assert document["traceback"].endswith("ValueError: two\nlines")
