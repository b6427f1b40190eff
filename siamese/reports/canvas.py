"""Canvas, thumbnails and colours for all pictures in the reports."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.data.images import PictureError, open_picture
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from siamese.data.remote_files import RemoteFile

INK, FAINT, GROUND, FRAME = "#1c1e21", "#6b7280", "#ffffff", "#d1d5db"
SAME, OTHER = "#15803d", "#dc2626"
"""Green for the same item, red for another. Frame widths differ too, for colour-blind readers."""

TILE, GAP, MARGIN, CAPTION = 120, 14, 32, 18
SCALE = 2
"""Pixels per point; 2 looks sharp on high-resolution screens."""


class Canvas:
    """White picture to draw on. All sizes are in points of `SCALE` pixels each."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self.picture = Image.new("RGB", (width * SCALE, height * SCALE), GROUND)
        self._draw = ImageDraw.Draw(self.picture)

    def draw_tile(
        self,
        source: str | os.PathLike[str] | RemoteFile | Image.Image,
        at: tuple[int, int],
        colour: str = FRAME,
        *,
        width: int = 1,
        size: int = TILE,
    ) -> None:
        """Draw a picture in a square frame, or without a frame if `width` is 0.

        `at` is the upper left corner; `size` includes the frame.
        """
        x, y = at
        inner = size - 2 * (width + 2) if width else size  # leave a gap inside the frame
        inset = (size - inner) * SCALE // 2
        picture = make_thumbnail(source, inner * SCALE)
        self.picture.paste(picture, (x * SCALE + inset, y * SCALE + inset))
        if not width:
            return
        box = [x * SCALE, y * SCALE, (x + size) * SCALE - 1, (y + size) * SCALE - 1]
        self._draw.rectangle(box, outline=colour, width=width * SCALE)

    def draw_text(
        self,
        at: tuple[int, int],
        text: str,
        colour: str = INK,
        size: int = 11,
        *,
        room: int | None = None,
        anchor: str = "la",
    ) -> int:
        """Draw a line of text and return its width.

        Unprintable characters are replaced, and text wider than `room` is shortened. `anchor` is a
        Pillow text anchor: "la" puts the text's upper left corner at `at`, "mm" its centre.
        """
        text = "".join(character if character.isprintable() else "�" for character in text)
        if room is not None:
            text = _shorten(text, room, size)
        position = (at[0] * SCALE, at[1] * SCALE)
        self._draw.text(position, text, colour, _load_font(size * SCALE), anchor=anchor)
        return _measure(text, size)


def make_thumbnail(
    source: str | os.PathLike[str] | RemoteFile | Image.Image, size: int
) -> Image.Image:
    """Fit a picture into a white square; if it cannot be read, return a grey square that says why.

    `size` is the side length in pixels.
    """
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (size, size), "white")
    try:
        picture = (
            source if isinstance(source, Image.Image) else open_picture(source, longest_side=size)
        )
    except PictureError as error:
        tile.paste("#e5e7eb", (0, 0, size, size))
        font = _load_font(size // 11)
        lines = [""]
        for word in str(error).split():
            longer = f"{lines[-1]} {word}".strip()
            if font.getlength(longer) <= 0.86 * size:
                lines[-1] = longer
            else:
                lines.append(word)
        centre = (size / 2, size / 2)
        draw = ImageDraw.Draw(tile)
        draw.multiline_text(
            centre, "\n".join(lines[:6]).strip(), FAINT, font, anchor="mm", align="center"
        )
        return tile
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    tile.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return tile


def _measure(text: str, size: int) -> int:
    return round(_load_font(size).getlength(text))


def _shorten(text: str, room: int, size: int) -> str:
    """Shorten text with an ellipsis to fit `room`; return "" if not even the ellipsis fits."""
    if _measure(text, size) <= room:
        return text
    shorter = (f"{text[:end]}…" for end in reversed(range(len(text))))
    return next((line for line in shorter if _measure(line, size) <= room), "")


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG."""
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG", optimize=True)


@cache
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    # DejaVu Sans comes with matplotlib. Pillow's own font lacks ✓ and non-Latin scripts.
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
