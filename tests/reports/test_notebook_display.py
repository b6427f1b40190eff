from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from siamese.evaluation.metrics import METRICS
from siamese.reports import Comparison, draw_training_curves, notebook_display
from siamese.reports.notebook_display import LiveTrainingCurves, show, show_metrics

HISTORY = [{"epoch": 0, "val_map@r": 0.2}, {"epoch": 1, "loss": 1.0, "val_map@r": 0.3}]


def opened(image) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def test_picture_is_a_jpeg_twice_as_wide_as_displayed():
    image = show(Image.new("RGB", (4000, 1000), "white"), 900, alt="nothing")
    assert opened(image).format == "JPEG"
    assert opened(image).size == (1800, 450)
    data, metadata = image._repr_mimebundle_()
    assert set(data) == {"image/jpeg"}
    assert metadata["image/jpeg"] == {"width": 900, "alt": "nothing"}


def test_small_picture_is_not_enlarged():
    image = show(Image.new("RGB", (600, 200), "white"))
    assert image.width == 300
    assert opened(image).size == (600, 200)


def test_large_picture_has_fewer_pixels():
    noise = np.random.default_rng(0).integers(0, 256, (500, 2000, 3), np.uint8)
    image = show(Image.fromarray(noise), 900)
    assert image.width == 900
    assert 900 <= opened(image).width < 1800


def test_chart_is_a_png_of_its_own_width():
    image = show(draw_training_curves(HISTORY, [1.0], 1))
    assert opened(image).format == "PNG"
    assert (image.width, opened(image).width) == (900, 1800)
    assert show(draw_training_curves(HISTORY, [1.0], 1), 450).width == 450


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_live_curves_update_a_single_output(shell, monkeypatch):
    monkeypatch.setattr(notebook_display, "REDRAW_SECONDS", 0.0)
    progress = SimpleNamespace(losses=[], history=HISTORY[:1], steps_per_epoch=2, epochs=3)
    with capture_output() as captured:
        chart = LiveTrainingCurves()
        for losses, rows in (([], 1), ([2.0], 1), ([2.0, 1.0], 2)):
            progress.losses, progress.history = losses, HISTORY[:rows]
            chart(progress)
    assert (captured.stdout, captured.stderr) == ("", "")
    first, *others = captured._outputs
    assert [output["update"] for output in (first, *others)] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in (first, *others)}) == 1
    pictures = [output["data"]["image/png"] for output in (first, *others)]
    assert len(set(pictures)) == 3


def test_live_curves_are_rarely_redrawn_within_an_epoch(shell):
    progress = SimpleNamespace(losses=[1.0], history=HISTORY[:1], steps_per_epoch=9, epochs=3)
    with capture_output() as captured:
        chart = LiveTrainingCurves()
        for _ in range(3):
            chart(progress)
        progress.history = HISTORY
        chart(progress)
    assert [output["update"] for output in captured._outputs] == [False, True]


def test_table_shows_each_metric_before_and_after():
    before = dict.fromkeys(METRICS, 0.25) | {"queries": 3}
    after = before | {"map@r": 0.75}
    table = show_metrics(Comparison(before, after, [], [])).data
    assert table.count("<tr>") == 1 + len(METRICS)
    assert "map@r</th><td>0.250</td><td><b>0.750</b></td><td>+0.500</td>" in table
