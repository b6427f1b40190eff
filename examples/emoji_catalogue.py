"""Download a catalogue of emoji, each drawn by up to six vendors.

    python -m examples.emoji_catalogue [FOLDER]

An item is an emoji, its pictures are the vendors' drawings, and its label is its subgroup in
OpenMoji's data, such as "food-fruit". The catalogue has about 980 items with 5,400 pictures. It
contains an emoji if

- its group is smileys-emotion, animals-nature, food-drink, travel-places, activities or objects.
  People, symbols and flags are left out, because their items look too much alike or the vendors
  draw them the same;
- it is a single code point. Skin tones and sequences are variants of other emoji;
- it is not one of the 24 clock faces, which only differ by their hands;
- at least four vendors drew it. A drawing used for two emoji does not count for either.

Two vendors (noto-v1, emojione) do not list code points. Their drawings are matched by the names
that the other vendors give to an emoji.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from examples.npm_packages import Package, fetch_packages
from siamese.errors import InputError
from siamese.utils.files import atomic_path, require_writable
from siamese.utils.progress import progress_bar

GROUPS = {
    "smileys-emotion",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
}
CLOCK_FACES = range(0x1F550, 0x1F568)
MIN_DRAWINGS = 4


# OpenMoji also provides the list of emoji.
PACKAGES = (
    Package(
        "noto",
        "@iconify-json/noto",
        "1.2.9",
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    Package(
        "noto-v1",
        "@iconify-json/noto-v1",
        "1.2.5",
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    Package(
        "twemoji",
        "@iconify-json/twemoji",
        "1.2.5",
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    Package(
        "fluent",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    Package(
        "emojione",
        "@iconify-json/emojione",
        "1.2.3",
        "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    Package(
        "openmoji",
        "openmoji",
        "17.0.0",
        "sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w==",
    ),
)


@dataclass(frozen=True)
class Emoji:
    """Candidate for the catalogue; `drawings` maps each vendor to its SVG text."""

    item_id: str
    label: str
    drawings: dict[str, str]


def fetch_emoji_catalogue(
    folder: str | os.PathLike[str],
    *,
    picture_size: int = 160,
    packages: Sequence[Package] = PACKAGES,
) -> Path:
    """Create the emoji catalogue in `folder`, unless it exists already.

    Parameters
    ----------
    folder : str or path-like
        Folder for ``items.json``, ``pictures/<item_id>/<vendor>.png``, ``LICENSES.txt`` and
        ``.cache``, which holds the downloaded packages and may be deleted afterwards.
    picture_size : int, default=160
        Width and height of the pictures in pixels.
    packages : sequence of Package
        Sources of the drawings. One of them must have the vendor "openmoji".

    Returns
    -------
    Path
        Path of ``items.json``, whose filenames are relative to `folder`. It is written last, so
        if it exists the catalogue is complete.

    Raises
    ------
    InputError
        If the packages cannot be downloaded or differ from the pinned ones, if `folder` cannot
        be written, or if it contains another catalogue.
    """
    folder = Path(folder)
    items_path, pictures, cache = folder / "items.json", folder / "pictures", folder / ".cache"
    recipe_path = folder / ".recipe.json"
    recipe = json.dumps({"picture_size": picture_size, "packages": [str(p) for p in packages]})
    if recipe_path.is_file():
        if recipe_path.read_text() == recipe and _is_complete(items_path):
            return items_path
    elif items_path.exists() or pictures.exists():
        raise InputError(
            f"{folder}: contains items.json or pictures of another catalogue; "
            "choose another folder for the emoji"
        )

    require_writable(cache / "packages")
    fetch_packages(packages, cache)
    contents = {package.vendor: _read_package(cache / package.tarball) for package in packages}
    drawn = draw(read_emoji(contents), picture_size)

    items_path.unlink(missing_ok=True)
    with atomic_path(recipe_path) as temporary:
        temporary.write_text(recipe)
    if pictures.exists():
        shutil.rmtree(pictures)
    with atomic_path(pictures) as temporary:
        for emoji, pngs in drawn:
            (temporary / emoji.item_id).mkdir(parents=True)
            for vendor, png in pngs.items():
                (temporary / emoji.item_id / f"{vendor}.png").write_bytes(png)
    with atomic_path(folder / "LICENSES.txt") as temporary:
        temporary.write_text(_licenses(packages, contents), encoding="utf-8")
    with atomic_path(items_path) as temporary:
        temporary.write_text(json.dumps(_items(drawn), indent=1))
    return items_path


def _is_complete(items_path: Path) -> bool:
    """Return whether the catalogue exists with all its pictures."""
    return items_path.is_file() and all(
        (items_path.parent / image["filename"]).is_file()
        for item in json.loads(items_path.read_text()).values()
        for image in item["images"]
    )


def _items(drawn: Iterable[tuple[Emoji, dict[str, bytes]]]) -> dict[str, Any]:
    return {
        emoji.item_id: {
            "images": [{"filename": f"pictures/{emoji.item_id}/{vendor}.png"} for vendor in pngs],
            "labels": [emoji.label],
        }
        for emoji, pngs in drawn
    }


# --- read the packages ----------------------------------------------------------------------------


def _read_package(tarball: Path) -> dict[str, bytes]:
    """Return the needed files of a package by name."""
    needed = re.compile(
        r"package/((?:package|info|icons|chars|data/openmoji)\.json|color/svg/.*\.svg)"
    )
    files = {}
    with tarfile.open(tarball) as tar:
        for member in tar:
            name, file = needed.fullmatch(member.name), tar.extractfile(member)
            if name and file:
                files[name[1]] = file.read()
    return files


def read_emoji(contents: dict[str, dict[str, bytes]]) -> list[Emoji]:
    """Return the emoji of the catalogue with all their drawings, in Unicode order.

    Parameters
    ----------
    contents : dict of dict of bytes
        Files of the packages by vendor and name.
    """
    openmoji = contents["openmoji"]
    icon_sets = {
        vendor: (json.loads(files["icons.json"]), json.loads(files["chars.json"]))
        for vendor, files in contents.items()
        if vendor != "openmoji"
    }
    names_of = defaultdict(set)
    for _, chars in icon_sets.values():
        for code, name in chars.items():
            names_of[code].add(name)

    chosen = []
    for entry in json.loads(openmoji["data/openmoji.json"]):
        # FE0F means "in colour"; only some vendors list it.
        code = entry["hexcode"].lower().removesuffix("-fe0f")
        if entry["group"] not in GROUPS or "-" in code or int(code, 16) in CLOCK_FACES:
            continue
        drawings = {}
        for vendor, (icons, chars) in icon_sets.items():
            names = {chars.get(code)} if chars else names_of[code]
            if found := names & icons["icons"].keys():
                drawings[vendor] = _svg(icons, min(found))
        if svg := openmoji.get(f"color/svg/{entry['hexcode']}.svg"):
            drawings["openmoji"] = svg.decode()
        item_id = f"{code}-{_slug(entry['annotation'])}"
        chosen.append(Emoji(item_id, entry["subgroups"], drawings))
    return chosen


def _slug(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")


def _svg(icons: dict[str, Any], name: str) -> str:
    """Return a drawing as an SVG document, centred in a square."""
    icon = icons["icons"][name]
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    side = max(width, height)
    box = f"{(width - side) / 2} {(height - side) / 2} {side} {side}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'


# --- draw the pictures ----------------------------------------------------------------------------


def draw(emoji: Sequence[Emoji], picture_size: int) -> list[tuple[Emoji, dict[str, bytes]]]:
    """Draw the emoji on white and return each with its PNG files by vendor.

    Leaves out repeated drawings of an emoji and drawings that two emoji share, then emoji with
    fewer than four drawings.
    """
    from resvg_py import svg_to_bytes

    render = partial(
        svg_to_bytes,
        background="#ffffff",
        width=picture_size,
        height=picture_size,
        skip_system_fonts=True,
    )
    jobs = [(icon, vendor) for icon in emoji for vendor in icon.drawings]
    # Processes, because resvg holds the GIL; spawned, because TensorFlow's threads do not survive
    # a fork; a Pool, because its processes end when the caller is killed.
    with get_context("spawn").Pool(2) as pool:
        drawings = (icon.drawings[vendor] for icon, vendor in jobs)
        pngs = []
        with progress_bar("drawing emoji", len(jobs)) as bar:
            for png in pool.imap(render, drawings, chunksize=32):
                pngs.append(png)
                bar.update()

    owners = defaultdict(set)
    for (icon, _), png in zip(jobs, pngs, strict=True):
        owners[png].add(icon.item_id)
    drawn: dict[str, dict[str, bytes]] = defaultdict(dict)
    for (icon, vendor), png in zip(jobs, pngs, strict=True):
        if len(owners[png]) == 1 and png not in drawn[icon.item_id].values():
            drawn[icon.item_id][vendor] = png
    return [
        (icon, drawn[icon.item_id]) for icon in emoji if len(drawn[icon.item_id]) >= MIN_DRAWINGS
    ]


def _licenses(packages: Iterable[Package], contents: dict[str, dict[str, bytes]]) -> str:
    """Return the text that names the authors and licences given in the packages."""
    lines = [
        "The pictures are drawings from these npm packages, on white and otherwise unchanged:",
        "",
    ]
    for package in packages:
        files = contents[package.vendor]
        manifest = json.loads(files["package.json"])
        if "info.json" in files:
            author = json.loads(files["info.json"])["author"]
        else:
            author = {"name": manifest["name"], "url": manifest["homepage"]}
        lines += [
            f"{package.vendor}.png",
            f"  package  {package}",
            f"  by       {author['name']}, {author['url']}",
            f"  licence  {manifest['license']}",
            "",
        ]
    return "\n".join(lines)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo/emoji"))
def main(folder: Path) -> None:
    """Create the emoji catalogue in FOLDER (demo/emoji) and print the path of its items.json."""
    try:
        print(fetch_emoji_catalogue(folder))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
