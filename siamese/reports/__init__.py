"""Pictures and pages for people: the data, what training brought, what was found."""

from __future__ import annotations

from siamese.reports.comparison import Comparison, compare
from siamese.reports.pages import report_page, results_page
from siamese.reports.pictures import collage, neighbours_picture, results_picture

__all__ = [
    "Comparison",
    "collage",
    "compare",
    "neighbours_picture",
    "report_page",
    "results_page",
    "results_picture",
]
