"""Pictures, charts and HTML pages that show catalogues, training and search results."""

from __future__ import annotations

from siamese.reports.canvas import write_picture
from siamese.reports.charts import draw_distance_histograms, draw_roc_curves, draw_training_curves
from siamese.reports.comparison import Comparison, compare_embeddings
from siamese.reports.embedding_map import draw_embedding_map
from siamese.reports.html_pages import write_report_page, write_results_page
from siamese.reports.pairs_picture import draw_pairs
from siamese.reports.picture_grids import draw_collage, draw_neighbours, draw_results

__all__ = [
    "Comparison",
    "compare_embeddings",
    "draw_collage",
    "draw_distance_histograms",
    "draw_embedding_map",
    "draw_neighbours",
    "draw_pairs",
    "draw_results",
    "draw_roc_curves",
    "draw_training_curves",
    "write_picture",
    "write_report_page",
    "write_results_page",
]
