"""The description of the index, and its files: no others are sent."""

from __future__ import annotations

import io
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from siamese import __version__
from siamese.indexes import BallTreeIndex
from tests.server.conftest import COLOURS, FACTS, Colours, encoded, error_of


def test_about_describes_the_server(serving):
    about = serving(upload_bytes=1234, formats=("PNG",), api_keys=("k",)).get("/about").json()
    version = about.pop("index")
    assert len(version) == 12
    assert about == {
        "pictures": len(COLOURS),
        "model": {
            "name": "colours",
            "fingerprint": FACTS.fingerprint,
            "embedding_size": 4,
            "picture_size": 32,
        },
        "threshold": None,
        "images": True,
        "max_upload_bytes": 1234,
        "formats": ["PNG"],
        "api_key": True,
    }


def test_labels_have_counts(client):
    assert client.get("/labels").json()["labels"] == [
        {"label": "colour", "pictures": 12},
        {"label": "dark", "pictures": 4},
        {"label": "light", "pictures": 4},
        {"label": "middle", "pictures": 4},
    ]


def test_an_item_has_its_pictures(client):
    item = client.get("/items/red").json()
    assert item["item_id"] == "red"
    assert item["labels"] == ["colour", "dark", "middle", "light"]
    assert [picture["filename"] for picture in item["pictures"]] == [
        f"shades/red-{shade}.png" for shade in ("dark", "middle", "light")
    ]
    for picture in item["pictures"]:
        assert client.post(f"/search/similar-to/{picture['row']}").json()["results"]
        assert client.get(picture["image_url"]).status_code == 200
    assert client.get("/items/none").status_code == 404


def test_a_picture_is_sent_unchanged(client, folder):
    answer = client.get("/images/shades/red-dark.png")
    assert answer.content == (folder / "photos/shades/red-dark.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in answer.headers["cache-control"]


def test_a_thumbnail_is_a_small_jpeg(client, folder):
    Image.new("RGB", (900, 600), "red").save(folder / "photos/shades/red-dark.png")
    for size in (16, 256, 1024):
        answer = client.get("/thumbnails/shades/red-dark.png", params={"size": size})
        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.format, answer.headers["content-type"]) == ("JPEG", "image/jpeg")
        assert max(picture.size) == min(size, 900)
    for size in (0, 15, 1025, "x"):
        answer = client.get("/thumbnails/shades/red-dark.png", params={"size": size})
        assert answer.status_code == 422


@pytest.mark.parametrize(("name", "width"), [("large.jpg", 4096), ("large.png", 1200)])
def test_a_thumbnail_has_the_size_that_is_requested(serving, folder, name, width):
    Image.new("RGB", (width, width * 3 // 4), "red").save(folder / "photos" / name)
    hostile_index(folder, [name])
    client = serving(index="hostile.pkl")
    for size in (16, 200, 256, 511, 512, 513, 1000, 1024):
        answer = client.get(f"/thumbnails/{name}", params={"size": size})
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.size == (size, round(size * 3 / 4))


def test_a_thumbnail_follows_changes_of_its_picture(client, folder):
    before = client.get("/thumbnails/shades/red-dark.png").content
    Image.new("RGB", (50, 50), "blue").save(folder / "photos/shades/red-dark.png")
    assert client.get("/thumbnails/shades/red-dark.png").content != before


def test_only_files_of_the_index_are_sent(client, folder):
    (folder / "photos" / "private.png").write_bytes(encoded())
    for name in (
        "private.png",
        "../secret.png",
        "..%2Fsecret.png",
        "shades/../private.png",
        "shades//red-dark.png",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "shades/red-dark.png%00.jpg",
        "shades\\..\\private.png",
        "",
    ):
        for kind in ("images", "thumbnails"):
            answer = client.get(f"/{kind}/{name}")
            assert answer.status_code == 404, name
            error_of(answer)


def hostile_index(folder, names: list[str]) -> None:
    """Index any filenames: an index is a file that somebody else may have made."""
    squares = [np.full((32, 32, 3), (9 * i, 9, 9), np.uint8) for i in range(len(names))]
    vectors = Colours().embed_squares(np.stack(squares))
    metadata = [{"item_id": "x", "filename": name, "labels": []} for name in names]
    BallTreeIndex.build(vectors, metadata, FACTS).save(folder / "hostile.pkl")


def test_filenames_of_the_index_cannot_lead_out_of_the_folder(serving, folder):
    photos = folder / "photos"
    (photos / "link.png").symlink_to(folder / "secret.png")
    (photos / "round.png").symlink_to(photos / "round.png")
    (photos / "out").symlink_to(folder)
    (photos / "inside.png").symlink_to(photos / "shades" / "red-dark.png")
    names = [
        *("../secret.png", "link.png", "round.png", "out/secret.png", str(folder / "secret.png")),
        *("shades", ".", "", "missing.png", "n\0ul.png", "a" * 5000, "inside.png"),
    ]
    hostile_index(folder, names)
    client = serving(index="hostile.pkl")
    for name in names[:-1]:
        for kind in ("images", "thumbnails"):
            answer = client.get(f"/{kind}/{quote(name)}")
            assert answer.status_code == 404, name
            assert str(folder.parent) not in answer.text or name in str(folder / "secret.png")
    assert client.get("/images/inside.png").status_code == 200


def test_files_that_are_not_pictures_are_not_sent(serving, folder):
    for name, content in (
        ("page.png", b"<script>alert(1)</script>"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    ):
        (folder / "photos" / name).write_bytes(content)
    (folder / "photos" / "really-jpeg.png").write_bytes(encoded(format="JPEG"))
    hostile_index(folder, ["page.png", "drawing.svg", "really-jpeg.png"])
    client = serving(index="hostile.pkl")
    for name in ("page.png", "drawing.svg"):
        assert client.get(f"/images/{name}").status_code == 404
        assert client.get(f"/thumbnails/{name}").status_code == 404
    assert client.get("/images/really-jpeg.png").headers["content-type"] == "image/jpeg"


def test_filenames_can_contain_any_characters(serving, folder):
    names = ["a b.png", "grüße & mehr?.png", "100%.png", "#1+2.png", "日本/犬.png"]
    (folder / "photos" / "日本").mkdir()
    for name in names:
        (folder / "photos" / name).write_bytes(encoded())
    hostile_index(folder, names)
    client = serving(index="hostile.pkl")
    pictures = client.get("/items/x").json()["pictures"]
    assert [picture["filename"] for picture in pictures] == names
    for picture in pictures:
        assert client.get(picture["image_url"]).status_code == 200
        assert client.get(picture["thumbnail_url"]).status_code == 200
        assert client.post(f"/search/similar-to/{quote(picture['filename'])}").status_code == 200


def test_the_documentation_loads_nothing_from_other_hosts(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text
    schema = client.get("/openapi.json").json()
    assert schema["info"]["version"] == __version__
    for path in schema["paths"]:
        assert path in page.text
    for name in ("any_label", "similarity", "Retry-After"):
        assert name in page.text


@pytest.mark.parametrize("path", ["/", "/docs", "/about", "/nothing", "/images/nothing"])
def test_every_response_has_a_strict_content_security_policy(client, path):
    headers = client.get(path).headers
    policy = dict(
        directive.split(" ", 1) for directive in headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
