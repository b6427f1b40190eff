from __future__ import annotations

from dataclasses import replace

import pytest

from siamese.evaluation.calibration import calibrate_threshold
from siamese.evaluation.evaluate import EvaluationResult
from siamese.evaluation.metrics import METRICS
from siamese.evaluation.summary import (
    describe_evaluation,
    tabulate_metrics,
    tabulate_weakest_labels,
)


@pytest.fixture
def result():
    figures = dict.fromkeys(METRICS, 0.5)
    return EvaluationResult(
        figures=figures | {"queries": 1200, "gallery": 3400, "items": 56},
        by_item=dict.fromkeys(METRICS, 0.25),
        intervals={
            "figures": dict.fromkeys(METRICS, (0.4, 0.6)),
            "by_item": dict.fromkeys(METRICS, (0.2, 0.3)),
        },
        by_label={
            label: figures | {"map@r": map_at_r, "queries": 10, "items": 2}
            for label, map_at_r in (("red", 0.3), ("blue", 0.1), ("green", 0.2))
        },
        label_recall={"recall@1": 0.7, "recall@5": 0.8, "recall@10": 0.9, "queries": 30},
        verification={
            "auc": 0.95,
            "equal_error_rate": 0.1,
            "fnmr@fmr=1e-2": 0.2,
            "fnmr@fmr=1e-3": 0.3,
        },
        calibration=calibrate_threshold(
            [0.2, 0.4], [0.6, 0.8], gallery=4, fingerprint="abc", measured_on="x"
        ),
        duplicates={"queries": 4, "same_bytes": 3, "pairs": []},
        skipped=[],
        unanswerable=0,
        model={},
    )


def test_each_metric_is_a_row_with_both_averages_and_intervals(result):
    header, rows = tabulate_metrics(result)
    assert header == ("metric", "by picture", "95 %", "by item", "95 %")
    assert rows == [
        (metric, "0.500", "0.400 – 0.600", "0.250", "0.200 – 0.300") for metric in METRICS
    ]
    _, rows = tabulate_metrics(replace(result, intervals=None))
    assert rows[0] == ("recall@1", "0.500", "–", "0.250", "–")


def test_the_weakest_labels_come_first(result):
    header, rows = tabulate_weakest_labels(result, 2)
    assert header == ("weakest of 3 labels", "items", "queries", "recall@1", "map@r")
    assert rows == [
        ("blue", "2", "10", "0.500", "0.100"),
        ("green", "2", "10", "0.500", "0.200"),
    ]
    only = {"red": result.by_label["red"]}
    assert tabulate_weakest_labels(replace(result, by_label=only), 2)[1] == []


def test_every_part_of_the_result_is_described(result):
    lines = describe_evaluation(result)
    for line, words in zip(
        lines,
        (
            "1,200 queries among 3,400 pictures of 56 items",
            "0.700, 0.800, 0.900",
            "ROC AUC 0.950, equal error rate 0.100, FNMR 0.200 at FMR 0.01 and 0.300 at 0.001",
            "beyond distance 0.500, with precision 1.000 and recall 1.000",
            "4 queries have a duplicate in the gallery (3 with identical bytes)",
        ),
        strict=True,
    ):
        assert words in line
    bare = replace(
        result,
        label_recall=None,
        verification=None,
        calibration=None,
        duplicates={"queries": 0, "same_bytes": 0, "pairs": []},
    )
    assert describe_evaluation(bare) == [lines[0], "duplicates: none"]
