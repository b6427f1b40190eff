from __future__ import annotations

import json

from siamese.embedding.embedder import Embedder
from siamese.models.embedding_model import embedding_model
from siamese.reports.training_report import write_training_report


def test_the_folder_holds_page_pictures_and_figures(catalogue, checkpoint, tmp_path):
    before = Embedder.from_model(embedding_model("base_cnn", 32), "base_cnn")
    after = Embedder.load(checkpoint)
    done = write_training_report(catalogue, before, after, tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"report.html", "neighbours.png", "catalogue.png", "metrics.json"}
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert figures == done.comparison.as_dict()
    assert figures["before"] != figures["after"]
    assert done.skipped == []
