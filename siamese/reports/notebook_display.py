"""What only a notebook needs: pictures that stay small in its file, a chart that is redrawn."""

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

MOST_BYTES = 250_000
"""With a dozen pictures of that size a notebook still opens at once, also on GitHub."""
POINTS_PER_INCH = 100
"""So that the text of a chart is about as large as that of a picture."""
REDRAW_SECONDS = 3.0
"""Between two drawings within an epoch; one takes a few tenths of a second from the training."""


def show(picture: Image.Image | Figure, width: int = 900, *, alt: str = "") -> DisplayedImage:
    """Return a picture or a chart as a notebook shows it.

    It is sharp on fine screens, twice as many pixels as it takes on the page; but a picture has
    fewer where it would be larger than `MOST_BYTES`. Pictures are JPEG, charts PNG: other formats
    are not shown everywhere that notebooks are.

    Parameters
    ----------
    picture : drawn at twice its size, as all pictures of `siamese.reports` are
    width : of the page, in pixels; what is smaller is not enlarged
    alt : what it shows, for those who do not see it
    """
    from IPython.display import Image as DisplayedImage
    from matplotlib.figure import Figure

    if isinstance(picture, Figure):
        width = min(width, round(picture.get_figwidth() * POINTS_PER_INCH))
        data = _png(picture, SCALE * width)
        return DisplayedImage(data, format="png", width=width, alt=alt)
    width = min(width, picture.width // SCALE)
    for scale in (SCALE, 1.6, 1.3, 1):
        data = _jpeg(picture, round(scale * width))
        if len(data) <= MOST_BYTES:
            break
    return DisplayedImage(data, format="jpeg", width=width, alt=alt)


def show_metrics(comparison: Comparison) -> HTML:
    """Return the figures of a comparison as a table, each with what it means."""
    from IPython.display import HTML

    rows = "".join(
        f'<tr><th style="text-align:left">{name}</th><td>{comparison.before[name]:.3f}</td>'
        f"<td><b>{comparison.after[name]:.3f}</b></td>"
        f"<td>{comparison.after[name] - comparison.before[name]:+.3f}</td>"
        f'<td style="text-align:left">{meaning}</td></tr>'
        for name, meaning in METRICS.items()
    )
    heads = "<th></th><th>before</th><th>after</th><th>gain</th><th></th>"
    return HTML(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")


class LiveTrainingCurves:
    """The chart of a training, drawn over while it goes on; a notebook keeps the last one.

    >>> train(catalogue, recipe, output, watch=LiveTrainingCurves())
    """

    def __init__(self) -> None:
        self._display: DisplayHandle | None = None
        self._finished = 0
        self._drawn = 0.0

    def __call__(self, progress: TrainingProgress) -> None:
        """Draw how far the training is: each finished epoch, and now and then within one."""
        from IPython.display import display

        finished = len(progress.history)
        if finished == self._finished and monotonic() - self._drawn < REDRAW_SECONDS:
            return
        chart = draw_training_curves(
            progress.history, progress.losses, progress.steps_per_epoch, epochs=progress.epochs
        )
        picture = show(chart, alt="Loss by step, and retrieval on held-out items by epoch")
        if self._display is None:
            self._display = display(picture, display_id=True)
        else:
            self._display.update(picture)
        self._finished, self._drawn = finished, monotonic()


def _jpeg(picture: Image.Image, width: int) -> bytes:
    from PIL import Image

    size = (width, max(1, round(picture.height * width / picture.width)))
    buffer = io.BytesIO()
    picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=82, optimize=True, progressive=True
    )
    return buffer.getvalue()


def _png(figure: Figure, width: int) -> bytes:
    buffer = io.BytesIO()
    dpi = width / figure.get_figwidth()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
