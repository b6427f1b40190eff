"""Charts of pair distances, ROC curves and training curves, drawn with matplotlib.

The functions neither use pyplot nor depend on the caller's matplotlib settings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from siamese.reports.canvas import FAINT, FRAME, GROUND, INK, OTHER, SAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from siamese.evaluation.verification import VerificationResult

HELD_OUT = "#2563eb"
"""Blue, for metrics on held-out items."""
BINS = 60
LINE_HEIGHT = 0.075
"""Height of a line of text, as a fraction of a chart's height."""
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FRAME,
    "axes.facecolor": GROUND,
    "axes.grid": False,
    "axes.labelcolor": FAINT,
    "axes.labelpad": 6,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 12,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.facecolor": GROUND,
    "xtick.color": FRAME,
    "xtick.labelcolor": FAINT,
    "ytick.color": FRAME,
    "ytick.labelcolor": FAINT,
}
CSS_VARIABLES = {INK: "--ink", FAINT: "--faint", FRAME: "--line", HELD_OUT: "--accent"}
"""CSS variables that replace a chart's colours on an HTML page."""

P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in `STYLE`, whatever the caller's matplotlib settings are."""

    @wraps(draw)
    def styled(*args: P.args, **options: P.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **options)

    return styled


@_styled
def draw_distance_histograms(before: VerificationResult, after: VerificationResult) -> Figure:
    """Draw histograms of the distances of positive and negative pairs, before and after training.

    Parameters
    ----------
    before, after : VerificationResult
        Results for pairs of the same catalogue, from the model before and after training.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    farthest = max(float(pairs.distances.max()) for pairs in (before, after)) or 1.0
    bins = np.linspace(0, farthest, BINS + 1)
    for axis, title, pairs in zip(
        axes, ("before training", "after training"), (before, after), strict=True
    ):
        _plot_histogram(axis, pairs.distances[pairs.y == 1], bins, "same item", SAME, "left")
        _plot_histogram(axis, pairs.distances[pairs.y == 0], bins, "another item", OTHER, "right")
        axis.axvline(pairs.threshold, color=INK, linewidth=1)
        axis.annotate(
            f"threshold {pairs.threshold:.2f}",
            (pairs.threshold, 1),
            (5, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=INK,
        )
        _set_title(axis, title, f"balanced accuracy {pairs.accuracy:.3f}")
        axis.set(xlim=(0, 1.15 * farthest), yticks=[])
        axis.margins(y=0.2)
        axis.spines["left"].set_visible(False)
    axes[-1].set_xlabel("distance between two pictures")
    return figure


def _plot_histogram(
    axis: Axes, distances: np.ndarray, bins: np.ndarray, name: str, colour: str, side: str
) -> None:
    """Plot a histogram, with its name beside its left or right slope."""
    density, _ = np.histogram(distances, bins, density=True)
    axis.stairs(density, bins, fill=True, color=colour, alpha=0.28, linewidth=0)
    axis.stairs(density, bins, color=colour, linewidth=1.2)
    high = np.flatnonzero(density >= density.max() / 2)
    axis.annotate(
        name,
        (bins[high[0]] if side == "left" else bins[high[-1] + 1], 0.7 * density.max()),
        (-12 if side == "left" else 12, 0),
        textcoords="offset points",
        ha="right" if side == "left" else "left",
        color=colour,
    )


@_styled
def draw_roc_curves(before: VerificationResult, after: VerificationResult) -> Figure:
    """Draw the ROC curves of verification before and after training.

    Parameters
    ----------
    before, after : VerificationResult
        Results for pairs of the same catalogue, from the model before and after training.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=FRAME, linewidth=0.8)
    for title, pairs, colour, width, height in (
        ("after training", after, INK, 1.8, 0.23),
        ("before training", before, FAINT, 1.2, 0.09),
    ):
        rate = pairs.equal_error_rate
        axis.plot(
            pairs.false_positive_rate, pairs.true_positive_rate, color=colour, linewidth=width
        )
        axis.plot(rate, 1 - rate, "o", color=colour, markersize=5)
        axis.text(
            0.97,
            height,
            f"{title}\nAUC {pairs.auc:.3f}   ● equal error rate {rate:.3f}",
            ha="right",
            va="center",
            linespacing=1.5,
            color=colour,
        )
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1.005),
        aspect="equal",
        xlabel="false positive rate",
        ylabel="true positive rate",
    )
    return figure


@_styled
def draw_training_curves(
    history: Sequence[Mapping[str, float]],
    losses: Sequence[float],
    steps_per_epoch: int,
    *,
    epochs: int | None = None,
) -> Figure:
    """Draw a training run's loss, and its retrieval metrics on held-out items.

    Parameters
    ----------
    history : sequence of mapping
        One row per epoch; epoch 0 is before training. Each row has `epoch` and any of `loss`,
        `val_loss`, `val_recall@1` and `val_map@r`.
    losses : sequence of float
        Loss of each step. For a resumed run, only the steps since it was resumed.
    steps_per_epoch : int
        Number of steps per epoch.
    epochs : int, optional
        Planned number of epochs, where the epoch axis ends. By default, it ends at the last epoch
        so far.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4))
    figure.subplots_adjust(0.05, 0.16, 0.86, 0.87, wspace=0.55)  # the same layout in every redraw
    left, right = figure.subplots(1, 2)
    finished = int(history[-1]["epoch"]) if history else 0
    first = max(0, finished - len(losses) // steps_per_epoch)
    steps = first + (np.arange(len(losses)) + 0.5) / steps_per_epoch
    last = max(epochs or 0, finished, steps[-1] if len(steps) else 0)
    if len(losses):
        left.plot(steps, losses, color=FRAME, linewidth=0.8)
    _plot_loss(left, history, last)
    _plot_retrieval(right, history, last)
    _set_title(left, "loss", "per step, and the mean per epoch")
    _set_title(right, "retrieval", "on held-out items; epoch 0 is before training")
    return figure


def render_training_curves(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Render loss and retrieval by epoch as SVG charts for an HTML page; return them by title.

    Their colours are CSS variables that the page defines for its light and dark themes. Charts
    without values are left out.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawings = {}
    last = max((row["epoch"] for row in history), default=0)
    for title, plot in (("loss", _plot_loss), ("retrieval on held-out items", _plot_retrieval)):
        # Different salts give the two charts on a page different SVG ids.
        svg_style = {"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": title}
        with rc_context(STYLE | svg_style):
            figure = Figure(figsize=(4.8, 2.9))
            figure.subplots_adjust(0.1, 0.18, 0.7, 0.86)
            axis = figure.subplots()
            plot(axis, history, last)
            if not axis.lines:
                continue
            _set_title(axis, title)
            file = io.StringIO()
            metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(file, format="svg", transparent=True, metadata=metadata)
        svg = file.getvalue()
        for colour, variable in CSS_VARIABLES.items():
            svg = svg.replace(colour, f"var({variable})")
        drawings[title] = svg[svg.index("<svg") :]
    return drawings


def _plot_loss(axis: Axes, history: Sequence[Mapping[str, float]], last: float) -> None:
    # Plot an epoch's mean training loss in the middle of the epoch, its held-out loss at the end.
    loss = {"loss": ("training", INK, 0.5), "val_loss": ("held out", HELD_OUT, 0.0)}
    _plot_curves(axis, history, last, loss)


def _plot_retrieval(axis: Axes, history: Sequence[Mapping[str, float]], last: float) -> None:
    axis.set_ylim(0, 1)
    retrieval = {"val_recall@1": ("recall@1", HELD_OUT, 0.0), "val_map@r": ("MAP@R", INK, 0.0)}
    _plot_curves(axis, history, last, retrieval)


def _plot_curves(
    axis: Axes,
    history: Sequence[Mapping[str, float]],
    last: float,
    curves: Mapping[str, tuple[str, str, float]],
) -> None:
    """Plot metrics by epoch, and write each metric's last value to the right of the plot.

    `curves` maps each metric to its label, colour and shift to the left in epochs. `last` is the
    end of the epoch axis.
    """
    from matplotlib.ticker import MaxNLocator

    last = max(last, 1)
    axis.set(xlim=(-0.02 * last, last), xlabel="epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(y=0.1)
    ends = []
    for metric, (label, colour, shift) in curves.items():
        points = [(row["epoch"] - shift, row[metric]) for row in history if metric in row]
        if points := [point for point in points if np.isfinite(point[1])]:
            axis.plot(
                *zip(*points, strict=True),
                "o-",
                color=colour,
                markersize=4,
                linewidth=1.4,
                clip_on=False,
            )
            ends.append((points[-1][1], f"{label} {points[-1][1]:.3f}", colour))
    if not axis.lines:
        axis.set_yticks([])
        axis.text(0.5, 0.5, "none yet", transform=axis.transAxes, ha="center", color=FAINT)
        return
    end = max(float(np.max(line.get_xdata())) for line in axis.lines)
    low, high = axis.get_ylim()
    height = -np.inf
    for value, text, colour in sorted(ends):
        height = max((value - low) / (high - low), height + LINE_HEIGHT)  # keep labels apart
        axis.annotate(
            text,
            (end, height),
            (8, 0),
            xycoords=axis.get_xaxis_transform(),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def _set_title(axis: Axes, title: str, explanation: str = "") -> None:
    """Set a title, followed by an explanation in smaller, fainter text."""
    text = axis.set_title(title, color=INK)
    axis.annotate(
        explanation,
        (1, 0),
        (8, 0),
        xycoords=text,
        textcoords="offset points",
        va="bottom",
        fontsize=9.5,
        color=FAINT,
    )
