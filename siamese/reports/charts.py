"""Charts of distances and of training, drawn with matplotlib but not with pyplot's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from siamese.evaluation.verification import Verification
from siamese.reports.canvas import FAINT, FRAME, GROUND, INK, OTHER, SAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HELD_OUT = "#2563eb"
"""Blue for what was not trained on."""
BINS = 60
LINE_HEIGHT = 0.075
"""Of a line of text, as a share of the height of a chart."""
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

P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Thin grey axes, one letter, whatever else the caller's matplotlib is set to."""

    @wraps(draw)
    def styled(*args: P.args, **options: P.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **options)

    return styled


@_styled
def draw_distance_histograms(before: Verification, after: Verification) -> Figure:
    """Draw how far apart positive and negative pairs are, before and after training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    farthest = max(float(pairs.distances.max()) for pairs in (before, after)) or 1.0
    bins = np.linspace(0, farthest, BINS + 1)
    for axis, when, pairs in zip(
        axes, ("before training", "after training"), (before, after), strict=True
    ):
        for kind, colour, name in ((1, SAME, "same item"), (0, OTHER, "another item")):
            density, _ = np.histogram(pairs.distances[pairs.y == kind], bins, density=True)
            axis.stairs(density, bins, fill=True, color=colour, alpha=0.28, linewidth=0)
            axis.stairs(density, bins, color=colour, linewidth=1.2)
            # The name stands beside the slope that is turned away from the other histogram.
            high = np.flatnonzero(density >= density.max() / 2)
            slope, place = (bins[high[0]], "right") if kind else (bins[high[-1] + 1], "left")
            axis.annotate(
                name,
                (slope, 0.7 * density.max()),
                (-12 if kind else 12, 0),
                textcoords="offset points",
                ha=place,
                color=colour,
            )
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
        _title(axis, when, f"balanced accuracy {pairs.accuracy:.3f}")
        axis.set(xlim=(0, 1.15 * farthest), yticks=[])
        axis.margins(y=0.2)
        axis.spines["left"].set_visible(False)
    axes[-1].set_xlabel("distance of two pictures")
    return figure


@_styled
def draw_roc_curves(before: Verification, after: Verification) -> Figure:
    """Draw how many positives are accepted at the price of how many negatives."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=FRAME, linewidth=0.8)
    for line, (when, pairs, colour) in enumerate(
        (("after", after, INK), ("before", before, FAINT))
    ):
        rate = pairs.equal_error_rate
        axis.plot(
            pairs.false_positive_rate,
            pairs.true_positive_rate,
            color=colour,
            linewidth=1.8 if when == "after" else 1.2,
        )
        axis.plot(rate, 1 - rate, "o", color=colour, markersize=5)
        axis.text(
            0.97,
            0.23 - 0.14 * line,
            f"{when} training\nAUC {pairs.auc:.3f}   ● equal error rate {rate:.3f}",
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
    """Draw how a training goes: the loss, and retrieval on held-out items.

    Parameters
    ----------
    history : a row of figures an epoch, epoch 0 before training; of `epoch`, `loss`, `val_loss`,
        `val_recall@1` and `val_map@r` what there is
    losses : of each step
    steps_per_epoch : how many steps make an epoch
    epochs : how many there will be; by default as many as there are
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4))
    figure.subplots_adjust(0.05, 0.16, 0.86, 0.87, wspace=0.55)  # the same in every frame
    left, right = figure.subplots(1, 2)
    finished = int(history[-1]["epoch"]) if history else 0
    # A training that was resumed has no losses of the steps before.
    first = max(0, finished - len(losses) // steps_per_epoch)
    steps = first + (np.arange(len(losses)) + 0.5) / steps_per_epoch
    last = max(epochs or 0, finished, steps[-1] if len(steps) else 0, 1)
    for axis in (left, right):
        axis.set(xlim=(-0.02 * last, last), xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.margins(y=0.1)
    if len(losses):
        left.plot(steps, losses, color=FRAME, linewidth=0.8)
    right.set_ylim(0, 1)
    # An epoch's mean stands in its middle, what is measured after it at its end.
    loss = {"loss": ("training", INK, 0.5), "val_loss": ("held out", HELD_OUT, 0.0)}
    retrieval = {"val_recall@1": ("recall@1", HELD_OUT, 0.0), "val_map@r": ("MAP@R", INK, 0.0)}
    _curves(left, history, loss)
    _curves(right, history, retrieval)
    _title(left, "loss", "each step, and the mean of an epoch")
    _title(right, "retrieval", "of held-out items; epoch 0 is before training")
    return figure


def _curves(
    axis: Axes,
    history: Sequence[Mapping[str, float]],
    drawn: Mapping[str, tuple[str, str, float]],
) -> None:
    """Figures by epoch, each with its last value at the right end of all that is drawn."""
    ends = []
    for name, (label, colour, earlier) in drawn.items():
        points = [(row["epoch"] - earlier, row[name]) for row in history if name in row]
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
    lowest = -np.inf
    for value, text, colour in sorted(ends):
        height = max((value - low) / (high - low), lowest + LINE_HEIGHT)
        lowest = height
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


def _title(axis: Axes, title: str, meaning: str) -> None:
    """A title in ink, and beside it, smaller and fainter, what it means."""
    drawn = axis.set_title(title, color=INK)
    axis.annotate(
        meaning,
        (1, 0),
        (8, 0),
        xycoords=drawn,
        textcoords="offset points",
        va="bottom",
        fontsize=9.5,
        color=FAINT,
    )
