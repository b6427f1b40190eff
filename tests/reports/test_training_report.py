from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np

from siamese.models.facts import ModelFacts
from siamese.reports.training_report import write_training_report


class PixelEmbedder:
    """Embedder by the mean colours of a grid of cells, which needs no network."""

    runtime = SimpleNamespace(name="numpy", precision="float32")

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.facts = ModelFacts(f"{cells} cells", str(cells) * 64, 3 * cells**2, 8, None)

    def embed_squares(self, squares, *, batch_size=32):
        side = 8 // self.cells
        parts = squares.reshape(len(squares), self.cells, side, self.cells, side, 3)
        vectors = parts.mean((2, 4), dtype=np.float32).reshape(len(squares), -1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_folder_holds_page_pictures_and_metrics(catalogue, tmp_path):
    report = write_training_report(
        catalogue, PixelEmbedder(4), PixelEmbedder(1), tmp_path / "report"
    )
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"report.html", "neighbours.png", "catalogue.png", "metrics.json"}
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics == report.comparison.as_dict()
    assert metrics["before"] != metrics["after"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Before training: 4 cells. After training: 1 cells." in page
    assert report.skipped == []
