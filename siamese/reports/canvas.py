"""What every picture here is drawn with: one palette, one letter, tiles and lines of text."""

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
"""Green for one item, red for two; frames thick and thin, ✓ and ✗ say it without."""

TILE, GAP, MARGIN, CAPTION = 120, 14, 32, 18
SCALE = 2
"""All measures are in points; everything is drawn at twice that, for sharp screens."""


class Canvas:
    """A white picture of so many points, and what is drawn on it."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self.picture = Image.new("RGB", (width * SCALE, height * SCALE), GROUND)
        self._draw = ImageDraw.Draw(self.picture)

    def tile(
        self,
        source: str | os.PathLike[str] | RemoteFile | Image.Image,
        at: tuple[int, int],
        colour: str = FRAME,
        *,
        width: int = 1,
        size: int = TILE,
    ) -> None:
        """Draw a picture in a frame, its upper left corner at `at`; a width of 0 is no frame."""
        x, y = at
        inner = size - 2 * (width + 2) if width else size  # a frame must not touch the picture
        inset = (size - inner) * SCALE // 2
        picture = thumbnail(source, inner * SCALE)
        self.picture.paste(picture, (x * SCALE + inset, y * SCALE + inset))
        if not width:
            return
        box = [x * SCALE, y * SCALE, (x + size) * SCALE - 1, (y + size) * SCALE - 1]
        self._draw.rectangle(box, outline=colour, width=width * SCALE)

    def text(
        self,
        at: tuple[int, int],
        text: str,
        colour: str = INK,
        size: int = 11,
        *,
        room: int | None = None,
        anchor: str = "la",
    ) -> int:
        """Draw a line, cut to the room that there is, and return how wide it is."""
        text = _one_line(text) if room is None else cut(text, room, size)
        place = (at[0] * SCALE, at[1] * SCALE)
        self._draw.text(place, text, colour, _font(size * SCALE), anchor=anchor)
        return text_width(text, size)


def thumbnail(source: str | os.PathLike[str] | RemoteFile | Image.Image, size: int) -> Image.Image:
    """A picture within size × size on white, or a grey tile that says why there is none."""
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (size, size), "white")
    try:
        picture = (
            source if isinstance(source, Image.Image) else open_picture(source, longest_side=size)
        )
    except PictureError as error:
        tile.paste("#e5e7eb", (0, 0, size, size))
        font = _font(size // 11)
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


def text_width(text: str, size: int) -> int:
    """How many points a line takes."""
    return round(_font(size).getlength(_one_line(text)))


def cut(text: str, width: int, size: int) -> str:
    """As much of a line as there is room for, or nothing."""
    text = _one_line(text)
    if text_width(text, size) <= width:
        return text
    while text:
        text = text[:-1]
        if text_width(f"{text}…", size) <= width:
            return f"{text}…"
    return ""


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG.

    Raises
    ------
    InputError
        If it cannot be written there.
    """
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG", optimize=True)


def _one_line(text: str) -> str:
    """Control characters, which filenames may hold, would break the line."""
    return "".join(character if character.isprintable() else "�" for character in text)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Pillow's own has Latin letters only, no ✓."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
