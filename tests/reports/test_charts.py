from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from siamese.evaluation.verification import measure_verification
from siamese.reports import draw_distance_histograms, draw_roc_curves, draw_training_curves
from siamese.reports.canvas import FAINT, INK, OTHER, SAME
from siamese.reports.charts import render_training_curves

HISTORY = [
    {"epoch": 0, "val_recall@1": 0.4, "val_map@r": 0.2},
    {"epoch": 1, "loss": 1.5, "val_loss": 1.6, "val_recall@1": 0.6, "val_map@r": 0.3},
    {"epoch": 2, "loss": 1.1, "val_loss": 1.2, "val_recall@1": 0.7, "val_map@r": 0.45},
]


def verified(gap: float, count: int = 400):
    rng = np.random.default_rng(1)
    y = np.arange(count) % 2
    distances = (rng.normal(1.0, 0.1, count) - gap * y).clip(0, 2).astype(np.float32)
    return measure_verification(distances, y.astype(np.int8))


def texts(figure: Figure) -> list[str]:
    found = [figure.axes[i].get_title("left") for i in range(len(figure.axes))]
    return found + [text.get_text() for axis in figure.axes for text in axis.texts]


def drawn(figure: Figure) -> Figure:
    """Render a figure, because layouts and labels only fail then."""
    figure.canvas.draw()
    return figure


def lines(axis) -> dict[str, list[tuple[float, float]]]:
    return {
        to_hex(line.get_color()): list(zip(*map(np.ravel, line.get_data()), strict=True))
        for line in axis.lines
    }


def test_histograms_are_green_for_the_same_item_and_red_for_another():
    before, after = verified(0.1), verified(0.5)
    figure = drawn(draw_distance_histograms(before, after))
    for axis, pairs in zip(figure.axes, (before, after), strict=True):
        for kind, colour in ((1, SAME), (0, OTHER)):
            outlines = [p for p in axis.patches if to_hex(p.get_edgecolor()) == colour]
            for outline in outlines:
                values, edges, _ = outline.get_data()
                expected, _ = np.histogram(pairs.distances[pairs.y == kind], edges, density=True)
                np.testing.assert_allclose(values, expected)
            assert outlines
        assert list(axis.lines[0].get_xdata()) == [pairs.threshold] * 2
        assert f"balanced accuracy {pairs.accuracy:.3f}" in texts(figure)
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert {"before training", "after training", "same item", "another item"} <= set(texts(figure))


def test_histograms_of_one_pair_of_each_kind():
    pair = measure_verification(np.array([0.0, 0.0], np.float32), np.array([1, 0], np.int8))
    drawn(draw_distance_histograms(pair, pair))


def test_roc_curves_are_those_of_the_verification():
    before, after = verified(0.1), verified(0.3)
    figure = drawn(draw_roc_curves(before, after))
    (axis,) = figure.axes
    assert axis.get_aspect() == 1
    curves = [line for line in axis.lines if len(line.get_xdata()) > 2]
    for line, figures, colour in zip(curves, (after, before), (INK, FAINT), strict=True):
        assert line.get_color() == colour
        np.testing.assert_array_equal(line.get_xdata(), figures.false_positive_rate)
        np.testing.assert_array_equal(line.get_ydata(), figures.true_positive_rate)
        (said,) = [text for text in texts(figure) if f"{figures.auc:.3f}" in text]
        assert f"equal error rate {figures.equal_error_rate:.3f}" in said
        assert said.startswith("before") == (colour == FAINT)


def test_training_curves_show_every_step_and_epoch():
    figure = drawn(draw_training_curves(HISTORY, [2.0, 1.8, 1.2, 1.0], 2))
    left, right = figure.axes
    steps, *curves = (line.get_xydata().tolist() for line in left.lines)
    assert steps == [[0.25, 2.0], [0.75, 1.8], [1.25, 1.2], [1.75, 1.0]]
    assert curves == [[[0.5, 1.5], [1.5, 1.1]], [[1, 1.6], [2, 1.2]]]
    curves = [line.get_xydata().tolist() for line in right.lines]
    assert curves == [[[0, 0.4], [1, 0.6], [2, 0.7]], [[0, 0.2], [1, 0.3], [2, 0.45]]]
    ends = {"training 1.100", "held out 1.200", "recall@1 0.700", "MAP@R 0.450"}
    assert ends <= set(texts(figure))
    assert left.get_xlim()[1] == 2


def test_resumed_training_continues_at_its_step():
    figure = draw_training_curves(HISTORY, [1.2, 1.0, 0.9], 2, epochs=4)  # epoch 2, and half of 3
    left, _ = figure.axes
    assert left.lines[0].get_xdata().tolist() == [1.25, 1.75, 2.25]
    assert left.get_xlim()[1] == 4


def test_labels_of_close_curves_do_not_overlap():
    history = [{"epoch": 1, "loss": 1.0, "val_loss": 1.001}]
    figure = drawn(draw_training_curves(history, [2.0, 0.5], 2))
    low, high = (
        text.get_window_extent() for text in figure.axes[0].texts if "." in text.get_text()
    )
    assert low.y1 <= high.y0 + 2


@pytest.mark.parametrize(
    ("history", "losses"),
    [
        ([], []),
        (HISTORY[:1], []),
        (HISTORY[:1], [1.0]),
        ([{"epoch": 0}, {"epoch": 1, "loss": 1.0}], [1.5, 0.5]),
        ([{"epoch": 1, "loss": 1.0, "val_loss": float("nan")}], [1.5, 0.5]),
    ],
)
def test_training_curves_of_incomplete_histories(history, losses):
    figure = drawn(draw_training_curves(history, losses, 2, epochs=3))
    for axis in figure.axes:
        assert np.isfinite(axis.get_xlim() + axis.get_ylim()).all()
        for line in axis.lines:
            assert np.isfinite(line.get_xydata()).all()
    assert not any("nan" in text for text in texts(figure))


def test_rendered_curves_have_the_colours_of_the_page():
    drawings = render_training_curves(HISTORY)
    assert list(drawings) == ["loss", "retrieval on held-out items"]
    for svg, labels in zip(
        drawings.values(),
        (("training 1.100", "held out 1.200"), ("recall@1 0.700", "MAP@R 0.450")),
        strict=True,
    ):
        assert all(f">{label}</text>" in svg for label in labels)
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert "var(--ink)" in svg and "var(--accent)" in svg
    assert list(render_training_curves(HISTORY[:1])) == ["retrieval on held-out items"]
    assert render_training_curves([]) == {}


def test_charts_do_not_change_the_state_of_pyplot():
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    draw_training_curves(HISTORY, [1.0], 1)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
