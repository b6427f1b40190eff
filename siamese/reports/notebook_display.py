"""Display of pictures, metrics and training progress in notebooks."""

from __future__ import annotations

import io
from time import monotonic
from typing import TYPE_CHECKING

from siamese.evaluation.metrics import METRICS
from siamese.reports.canvas import SCALE
from siamese.reports.charts import draw_training_curves

if TYPE_CHECKING:
    from IPython.display import HTML, DisplayHandle
    from IPython.display import Image as DisplayedImage
    from matplotlib.figure import Figure
    from PIL import Image

    from siamese.reports.comparison import Comparison
    from siamese.training.training_callback import TrainingProgress

MAX_BYTES = 250_000
"""Target size of a picture, so that notebooks with a dozen pictures open fast, even on GitHub."""
PIXELS_PER_INCH = 100
"""Resolution of charts, at which their text is about as large as the text in pictures."""
REDRAW_SECONDS = 3.0
"""Minimum time between redraws within an epoch, because redrawing delays training."""


def show(picture: Image.Image | Figure, width: int = 900, *, alt: str = "") -> DisplayedImage:
    """Convert a picture or a chart to an image that a notebook cell can display.

    Pictures become JPEG and charts PNG, which every notebook viewer shows. Their resolution is
    twice that of the page, or lower for pictures that would exceed `MAX_BYTES`.

    Parameters
    ----------
    picture : PIL.Image.Image or matplotlib.figure.Figure
        Picture or chart drawn by `siamese.reports`.
    width : int, default 900
        Maximum width on the page in pixels. Smaller pictures are not enlarged.
    alt : str, optional
        Alternative text for readers who cannot see the picture.
    """
    from IPython.display import Image as DisplayedImage
    from matplotlib.figure import Figure

    if isinstance(picture, Figure):
        width = min(width, round(picture.get_figwidth() * PIXELS_PER_INCH))
        buffer = io.BytesIO()
        dpi = SCALE * width / picture.get_figwidth()
        picture.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return DisplayedImage(buffer.getvalue(), format="png", width=width, alt=alt)
    width = min(width, picture.width // SCALE)
    for scale in (SCALE, 1.6, 1.3, 1):
        data = _encode_jpeg(picture, round(scale * width))
        if len(data) <= MAX_BYTES:
            break
    return DisplayedImage(data, format="jpeg", width=width, alt=alt)


def show_metrics(comparison: Comparison) -> HTML:
    """Convert a comparison's metrics to an HTML table that explains each metric."""
    from IPython.display import HTML

    rows = "".join(
        f'<tr><th style="text-align:left">{metric}</th><td>{before}</td>'
        f"<td><b>{after}</b></td><td>{gain}</td>"
        f'<td style="text-align:left">{METRICS[metric]}</td></tr>'
        for metric, before, after, gain in comparison.tabulate()
    )
    heads = "<th></th><th>before</th><th>after</th><th>gain</th><th></th>"
    return HTML(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")


class LiveTrainingCurves:
    """Training curves in a notebook, redrawn while a model trains.

    Examples
    --------
    >>> train(catalogue, recipe, output, watch=LiveTrainingCurves())  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._display: DisplayHandle | None = None
        self._finished_epochs = 0
        self._redrawn = 0.0

    def __call__(self, progress: TrainingProgress) -> None:
        """Redraw the curves after each epoch, and every few seconds within one."""
        from IPython.display import display

        finished = len(progress.history)
        if finished == self._finished_epochs and monotonic() - self._redrawn < REDRAW_SECONDS:
            return
        chart = draw_training_curves(
            progress.history, progress.losses, progress.steps_per_epoch, epochs=progress.epochs
        )
        picture = show(chart, alt="Loss by step, and retrieval on held-out items by epoch")
        if self._display is None:
            self._display = display(picture, display_id=True)
        else:
            self._display.update(picture)
        self._finished_epochs, self._redrawn = finished, monotonic()


def _encode_jpeg(picture: Image.Image, width: int) -> bytes:
    from PIL import Image

    size = (width, max(1, round(picture.height * width / picture.width)))
    buffer = io.BytesIO()
    picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=82, optimize=True, progressive=True
    )
    return buffer.getvalue()
