"""Pictures and pages for people: the data, what training brought, what was found."""

from __future__ import annotations

from siamese.reports.canvas import write_picture
from siamese.reports.charts import distance_histograms, roc_chart, training_chart
from siamese.reports.comparison import Comparison, compare
from siamese.reports.embedding_map import draw_embedding_map
from siamese.reports.html_pages import report_page, results_page
from siamese.reports.pairs_picture import draw_pairs
from siamese.reports.picture_grids import collage, neighbours_picture, results_picture

__all__ = [
    "Comparison",
    "collage",
    "compare",
    "distance_histograms",
    "draw_embedding_map",
    "draw_pairs",
    "neighbours_picture",
    "report_page",
    "results_page",
    "results_picture",
    "roc_chart",
    "training_chart",
    "write_picture",
]
