"""Readable summaries of an evaluation, as tables and lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from siamese.evaluation.evaluate import EvaluationResult

Table: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows of a table."""


def tabulate_metrics(result: EvaluationResult) -> Table:
    """Tabulate the retrieval metrics, averaged by picture and by item, with their intervals."""
    intervals = result.intervals or {}

    def format_interval(average: str, metric: str) -> str:
        if average not in intervals:
            return "–"
        low, high = intervals[average][metric]
        return f"{low:.3f} – {high:.3f}"

    return ("metric", "by picture", "95 %", "by item", "95 %"), [
        (
            metric,
            f"{result.figures[metric]:.3f}",
            format_interval("figures", metric),
            f"{value:.3f}",
            format_interval("by_item", metric),
        )
        for metric, value in result.by_item.items()
    ]


def tabulate_weakest_labels(result: EvaluationResult, count: int) -> Table:
    """Tabulate the labels with the lowest MAP@R; return no rows for fewer than two labels."""
    labels = sorted(result.by_label.items(), key=lambda entry: (entry[1]["map@r"], entry[0]))
    header = (f"weakest of {len(labels):,} labels", "items", "queries", "recall@1", "map@r")
    if len(labels) < 2:
        return header, []
    return header, [
        (
            label,
            f"{metrics['items']:,}",
            f"{metrics['queries']:,}",
            f"{metrics['recall@1']:.3f}",
            f"{metrics['map@r']:.3f}",
        )
        for label, metrics in labels[:count]
    ]


def describe_evaluation(result: EvaluationResult) -> list[str]:
    """Describe the counts, labels, verification, threshold and duplicates, in one line each."""
    figures = result.figures
    lines = [
        f"{figures['queries']:,} queries among {figures['gallery']:,} pictures of "
        f"{figures['items']:,} items"
    ]
    if result.label_recall is not None:
        recall = ", ".join(f"{result.label_recall[f'recall@{k}']:.3f}" for k in (1, 5, 10))
        lines.append(f"queries with their label among the nearest 1, 5 and 10 pictures: {recall}")
    if (pairs := result.verification) is not None:
        lines.append(
            f"pairs: ROC AUC {pairs['auc']:.3f}, equal error rate "
            f"{pairs['equal_error_rate']:.3f}, FNMR {pairs['fnmr@fmr=1e-2']:.3f} at FMR 0.01 and "
            f"{pairs['fnmr@fmr=1e-3']:.3f} at 0.001"
        )
    if (calibration := result.calibration) is not None:
        lines.append(
            f"not in the gallery: beyond distance {calibration.threshold:.3f}, with precision "
            f"{calibration.precision:.3f} and recall {calibration.recall:.3f}"
        )
    if duplicates := result.duplicates["queries"]:
        lines.append(
            f"duplicates: {duplicates:,} queries have a duplicate in the gallery "
            f"({result.duplicates['same_bytes']:,} with identical bytes), which inflates every "
            "metric"
        )
    else:
        lines.append("duplicates: none")
    return lines
