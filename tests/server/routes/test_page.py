"""The page in a real browser: its functions, its messages and its accessibility."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from PIL import Image

from examples.npm_packages import Package, fetch_packages
from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.models.facts import ModelFacts
from siamese.search.searcher import Searcher
from siamese.server.app import create_app
from siamese.server.service import Service
from siamese.server.settings import Limits, Settings

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect  # noqa: E402

pytestmark = pytest.mark.long

DESK = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
AXE = Package(
    "axe",
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
FACTS = ModelFacts("Shapes", "5" * 64, 48, 32, None)
THRESHOLD = 0.3


class Shapes:
    """A model whose vectors are the coarse shape of what is not white."""

    facts = FACTS

    def embed_squares(self, squares: np.ndarray) -> np.ndarray:
        pictures = map(Image.fromarray, squares)
        small = [picture.resize((4, 4), Image.Resampling.BOX) for picture in pictures]
        ink = 255 - np.stack([np.asarray(picture, float).ravel() for picture in small])
        ink += 1.0  # so that a white picture has a vector too
        return (ink / np.linalg.norm(ink, axis=1, keepdims=True)).astype(np.float32)


# --- the server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searcher(catalogue: Catalogue) -> Searcher:
    """Return a searcher of the drawn shapes, with a threshold."""
    from siamese.data.images import square_picture

    paths = [catalogue.path_of(picture) for picture in catalogue.pictures]
    vectors = Shapes().embed_squares(np.stack([square_picture(path, 32) for path in paths]))
    metadata = [
        {"item_id": p.item_id, "filename": p.filename, "labels": list(p.labels)}
        for p in catalogue.pictures
    ]
    index = BallTreeIndex.build(vectors, metadata, FACTS)
    searcher = Searcher(Shapes(), index)  # type: ignore[arg-type]
    searcher.threshold = THRESHOLD
    return searcher


@contextmanager
def running(searcher: Searcher, settings: Settings) -> Iterator[str]:
    """Serve in a thread, and yield the URL."""
    service = Service(lambda _: searcher, "no index that changes", settings)
    config = uvicorn.Config(create_app(service), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def settings(catalogue: Catalogue) -> Settings:
    folder = catalogue.path_of(catalogue.pictures[0]).parent
    return Settings(image_dir=folder, watch_seconds=0, limits=Limits(upload_bytes=200_000))


@pytest.fixture(scope="module")
def address(searcher: Searcher, settings: Settings) -> Iterator[str]:
    with running(searcher, settings) as address:
        yield address


# --- the browser ----------------------------------------------------------------------------------


# Not for the session: while the browser is open, no other event loop can run in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    named = os.environ.get("SIAMESE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium: install it, or name it in SIAMESE_CHROMIUM")
    expect.set_options(timeout=15_000)  # for a busy machine
    with playwright.sync_playwright() as started:
        # For root, as in a container, there is no sandbox.
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(pytestconfig: pytest.Config) -> str:
    """Return the source of axe-core, downloaded once from npm."""
    assert pytestconfig.cache
    cache = pytestconfig.cache.mkdir("axe-core")
    try:
        fetch_packages([AXE], cache)
    except InputError as error:
        pytest.skip(str(error))
    with tarfile.open(cache / AXE.tarball) as tar:
        script = tar.extractfile("package/axe.min.js")
        assert script
        return script.read().decode()


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Open]:
    """Return a function that opens a page; no page may request other hosts or log an error."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def visit(
        path: str = "", *, at: str = address, size: dict[str, int] = DESK, **more: Any
    ) -> Page:
        context = browser.new_context(
            viewport=size,  # type: ignore[arg-type]
            reduced_motion=more.pop("reduced_motion", "reduce"),
            **more,
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()

        def check_message(message: Any) -> None:
            # Some tests are about responses with an error.
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                problems.append(message.text)

        def check_request(request: Any) -> None:
            if not request.url.startswith((at, "blob:", "data:")):
                problems.append(f"requested {request.url}")

        page.on("console", check_message)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", check_request)
        page.goto(at + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def accessible(axe: str) -> Callable[[Page], None]:
    """Return a function that asserts that axe finds no problem, in light and dark, desk and phone.

    Nothing may be wider than the screen either.
    """

    def check(page: Page) -> None:
        size = page.viewport_size
        page.evaluate(axe)
        # Dark mode changes only colours, and those are the same on every screen.
        for screen, scheme, rules in (
            (DESK, "light", {}),
            (PHONE, "light", {}),
            (PHONE, "dark", {"runOnly": ["color-contrast", "link-in-text-block"]}),
        ):
            page.set_viewport_size(screen)  # type: ignore[arg-type]
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            too_wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert too_wide <= 0
            found = page.evaluate(
                "(rules) => axe.run({ resultTypes: ['violations'], ...rules })", rules
            )
            assert [
                (rule["impact"], rule["id"], [node["target"] for node in rule["nodes"]])
                for rule in found["violations"]
            ] == [], (screen, scheme)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(size)  # type: ignore[arg-type]

    return check


# --- actions --------------------------------------------------------------------------------------


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def red_square(catalogue: Catalogue) -> bytes:
    return catalogue.path_of(
        next(p for p in catalogue.pictures if p.item_id == "red-square")
    ).read_bytes()


@pytest.fixture(scope="module")
def two_shapes(catalogue: Catalogue) -> bytes:
    """Return a picture with a green disc on the left and a red square on the right."""
    both = Image.new("RGB", (480, 200), "white")
    for item_id, left in (("green-disc", 0), ("red-square", 240)):
        picture = next(p for p in catalogue.pictures if p.item_id == item_id)
        with Image.open(catalogue.path_of(picture)) as shape:
            both.paste(shape.resize((240, 200)), (left, 0))
    return encoded(both)


GIVE = """([kind, base64, name, type]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const how = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent("paste", { ...how, clipboardData: transfer })
      : new DragEvent(kind, { ...how, dataTransfer: transfer }),
  );
}"""


def give(
    page: Page, content: bytes, name: str = "query.png", type: str = "image/png", kind: str = "drop"
) -> None:
    """Drop a file on the page, or paste it."""
    expect(page.locator("#facts")).not_to_be_empty()
    page.evaluate(GIVE, [kind, base64.b64encode(content).decode(), name, type])


def found(page: Page) -> list[str]:
    """Wait for results and return their items."""
    expect(page.locator("#grid:not([aria-busy]) .card").first).to_be_visible()
    return page.locator(".card .item").all_inner_texts()


def drag(page: Page, *corners: tuple[float, float]) -> None:
    """Drag over the query picture from point to point, given in fractions of its size."""
    page.locator("#stage.loaded").wait_for()
    box = page.locator("#stage").bounding_box()
    assert box
    (x, y), *others = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners
    ]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def query_of(page: Page) -> str:
    return urlsplit(page.url).query


# --- searching ------------------------------------------------------------------------------------


def test_the_welcome_page_explains_what_to_do(
    visit: Open, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    expect(page.get_by_role("heading", level=1)).to_contain_text("See what looks like")
    expect(page.locator("#limits")).to_have_text("JPEG, PNG, WEBP, AVIF · up to 200 kB")
    expect(page.locator("#facts")).to_have_text("48 pictures · Shapes")
    expect(page.locator("#starts-list a").first).to_be_visible()
    accessible(page)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_is_searched_for(
    visit: Open, red_square: bytes, kind: str
) -> None:
    page = visit()
    give(page, red_square, "mine.png", kind=kind)
    assert found(page)[0] == "red-square"
    expect(page.locator(".card .similarity").first).to_have_text("100% similar")
    expect(page).to_have_title("Looks like mine.png")
    expect(page.locator("#live")).to_have_text("The 24 most similar of 48 pictures.")
    expect(page.locator("#found-title")).to_be_focused()
    assert re.fullmatch(r"picture=\w+", query_of(page))


def test_a_picture_can_be_chosen_or_photographed(visit: Open, red_square: bytes) -> None:
    page = visit(has_touch=True, is_mobile=True, size=PHONE)
    camera = page.get_by_label("Take a photo").first
    expect(camera).to_have_attribute("capture", "environment")
    expect(page.locator("#welcome .camera")).to_be_visible()
    expect(page.locator("#facts")).not_to_be_empty()
    assert camera.get_attribute("accept") == "image/jpeg,image/png,image/webp,image/avif"
    camera.set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": red_square})
    assert found(page)[0] == "red-square"


def test_a_file_dragged_over_the_page_is_invited(visit: Open) -> None:
    page = visit()
    give(page, b"", kind="dragover")
    expect(page.locator("#veil")).to_be_visible()
    give(page, b"no picture", "notes.txt", "text/plain")
    expect(page.locator("#veil")).to_be_hidden()


def test_results_show_pictures_with_their_facts(
    visit: Open, red_square: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    give(page, red_square)
    found(page)
    card = page.locator(".card").nth(1)
    expect(card.locator("img")).to_have_js_property("complete", True)
    assert card.locator("img").evaluate("image => image.naturalWidth") > 0
    expect(card.locator("img")).to_have_attribute("alt", card.locator(".item").inner_text())
    expect(card.locator("a")).to_have_attribute(
        "title", re.compile(r"^distance 0\.\d{3} · \S+\.png$")
    )
    expect(card.locator(".card-labels")).not_to_be_empty()
    expect(page.locator(".divider")).to_have_text("From here on, probably something else")
    page.get_by_text("What “% similar” means").click()
    # 1 - 0.3² / 2 = 0.955
    expect(page.locator("#scale-text")).to_contain_text("seldom less than 96% similar")
    accessible(page)


def test_more_results_follow_the_first(visit: Open, red_square: bytes) -> None:
    page = visit()
    give(page, red_square)
    first = found(page)
    assert len(first) == 24
    page.get_by_role("button", name="Show more").press("Enter")
    expect(page.locator(".card")).to_have_count(48)
    expect(page.locator(".card a").nth(24)).to_be_focused()
    assert found(page)[:24] == first
    # Only the next request shows that there are no more.
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.reload()
    expect(page.locator(".card")).to_have_count(48)


# --- a part of the picture ------------------------------------------------------------------------


def test_the_frame_is_drawn_and_moved_by_dragging(
    visit: Open, two_shapes: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    give(page, two_shapes)
    found(page)
    drag(page, (0.52, 0.02), (0.75, 0.5), (0.98, 0.98))
    expect(page).to_have_url(re.compile(r"&crop=0\.52,0\.02,0\.46,0\.96$"))
    expect(page.locator(".card .item").first).to_have_text("red-square")
    accessible(page)

    drag(page, (0.75, 0.5), (0.25, 0.5))  # moves the frame to the other shape
    expect(page).to_have_url(re.compile(r"&crop=0\.02,0\.02,0\.46,0\.96$"))
    expect(page.locator(".card .item").first).to_have_text("green-disc")
    drag(page, (0.475, 0.97), (0.4, 0.8))  # resizes it by a corner
    expect(page).to_have_url(re.compile(r"&crop=0\.02,0\.02,0\.38,0\.78$"))

    page.go_back()
    page.go_back()
    expect(page.locator(".card .item").first).to_have_text("red-square")
    page.get_by_role("button", name="Whole picture").click()
    expect(page).not_to_have_url(re.compile("crop"))
    expect(page.locator("#frame")).to_be_focused()


def test_the_frame_is_moved_by_keys(visit: Open, two_shapes: bytes) -> None:
    page = visit()
    give(page, two_shapes)
    found(page)
    frame = page.get_by_label("Part of the picture to search for")
    frame.focus()
    expect(page.locator("#frame-help")).to_be_visible()
    for key in ["-"] * 5 + ["ArrowRight"] * 20 + ["Shift+ArrowUp"] * 20 + ["ArrowLeft"]:
        frame.press(key)
    expect(page.locator("#live")).to_have_text(
        "50% wide, 90% high, 48% from the left, 5% from the top"
    )
    expect(page).to_have_url(re.compile(r"&crop=0\.48,0\.05,0\.5,0\.9$"))
    expect(page.locator(".card .item").first).to_have_text(re.compile("^red-"))
    expect(frame).to_be_focused()
    frame.press("Escape")
    expect(page).not_to_have_url(re.compile("crop"))


def test_the_frame_is_drawn_by_touch(visit: Open, two_shapes: bytes) -> None:
    page = visit(has_touch=True, is_mobile=True, size=PHONE)
    give(page, two_shapes)
    found(page)
    page.locator("#stage.loaded").wait_for()
    box = page.locator("#stage").bounding_box()
    assert box
    touches = page.context.new_cdp_session(page)
    for kind, places in (
        ("touchStart", [(0.03, 0.05)]),
        ("touchMove", [(0.2, 0.5)]),
        ("touchMove", [(0.48, 0.95)]),
        ("touchEnd", []),
    ):
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places
        ]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page).to_have_url(re.compile(r"&crop=0\.0\d+,0\.0\d+,0\.4\d+,0\.\d+$"))
    expect(page.locator(".card .item").first).to_have_text("green-disc")
    assert page.evaluate("scrollY") == 0


def test_a_part_of_an_indexed_picture_can_be_searched_for(visit: Open) -> None:
    page = visit("?like=red-disc-0.png&crop=0.1,0.1,0.8,0.8")
    assert found(page)[0] == "red-disc"
    page.get_by_role("button", name="Whole picture").click()
    expect(page).to_have_url(re.compile(r"\?like=red-disc-0\.png$"))


# --- filters --------------------------------------------------------------------------------------


def keeping(page: Page, label: str) -> Locator:
    """Return the button that keeps only the pictures with a label."""
    return page.get_by_role("button", name=f"Only {label} 12", exact=True)


def labels_shown(page: Page) -> set[str]:
    found(page)
    return set(page.locator(".card-labels").all_inner_texts())


def test_labels_include_and_exclude_pictures(
    visit: Open, red_square: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    give(page, red_square)
    found(page)
    page.get_by_label("Find a label").fill("TRI")
    expect(page.locator(".label-list li")).to_have_count(1)
    keeping(page, "triangle").click()
    expect(page.locator("#found-summary")).to_have_text(
        "12 pictures match your filters, the most similar first."
    )
    assert labels_shown(page) == {"triangle"}

    page.get_by_label("Find a label").fill("")
    keeping(page, "disc").press("Enter")
    expect(keeping(page, "disc")).to_be_focused()
    expect(page).to_have_url(re.compile("any=triangle&any=disc"))
    expect(page.locator("#found-summary")).to_contain_text("24")
    assert labels_shown(page) == {"triangle", "disc"}

    page.get_by_role("button", name="Leave out triangle").click()
    expect(page).to_have_url(re.compile("any=disc&none=triangle"))
    expect(page.locator("#found-summary")).to_contain_text("12 pictures")
    assert labels_shown(page) == {"disc"}
    accessible(page)

    page.get_by_role("button", name="only disc: remove this filter").click()
    expect(page.locator("#found-summary")).to_contain_text("24 most similar pictures")
    assert "triangle" not in labels_shown(page)


def test_filters_that_match_nothing_can_be_cleared(
    visit: Open, accessible: Callable[[Page], None]
) -> None:
    page = visit("?like=red-disc-0.png&any=disc&any=square")
    assert labels_shown(page) == {"disc", "square"}
    page.get_by_text("all of them").click()
    expect(page).to_have_url(re.compile("every=disc&every=square"))
    expect(page.locator("#notice")).to_contain_text("No picture matches your filters")
    expect(page.locator("#live")).to_contain_text("No picture matches your filters")
    accessible(page)
    page.get_by_role("button", name="Clear the filters").click()
    expect(page).to_have_url(re.compile(r"\?like=red-disc-0\.png$"))
    assert len(found(page)) == 24


def test_one_result_per_item_other_items_and_minimum_similarity(visit: Open) -> None:
    page = visit("?like=red-disc-0.png")
    assert found(page).count("red-disc") == 3
    page.get_by_role("switch", name="Only other items").check()
    expect(page).to_have_url(re.compile("others=1"))
    expect(page.locator(".card .item").first).not_to_have_text("red-disc")
    assert "red-disc" not in found(page)
    page.get_by_role("switch", name="One result per item").check()
    expect(page.locator("#found-summary")).to_have_text(
        "The 11 most similar items, each by its nearest of 48 pictures."
    )
    assert len(found(page)) == len(set(found(page))) == 11

    page.get_by_role("slider", name="Minimum similarity").fill("70")
    expect(page).to_have_url(re.compile("least=70"))
    expect(page.locator("#chips")).to_have_text("at least 70%")
    page.wait_for_load_state("networkidle")
    found(page)
    least = [int(text.rstrip("%")) for text in page.locator(".similarity b").all_inner_texts()]
    assert 0 < len(least) < 11
    assert min(least) >= 70


# --- the address ----------------------------------------------------------------------------------


def test_back_and_forward_restore_results_and_scrolling(visit: Open, red_square: bytes) -> None:
    page = visit(size=PHONE)
    give(page, red_square, "mine.png")
    before = found(page)
    link = page.locator(".card a").nth(10)
    link.scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    assert scrolled > 300
    link.press("Enter")
    expect(page).to_have_url(re.compile(rf"\?like={before[10]}-\d\.png$"))
    expect(page.locator("#asked-name")).to_have_text(before[10])
    expect(page.locator("#found-title")).to_be_focused()
    assert page.evaluate("scrollY") == 0
    found(page)

    page.go_back()
    expect(page.locator("#asked-name")).to_have_text("mine.png")
    assert found(page) == before
    page.locator("#stage.loaded").wait_for()
    expect(page.locator(".card a").nth(10)).to_be_in_viewport()
    assert page.evaluate("scrollY") == scrolled
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_forward()
    assert found(page) == before
    page.reload()
    assert found(page) == before
    expect(page.locator("#asked-name")).to_have_text("mine.png")


def test_a_shared_link_shows_the_same_results(visit: Open) -> None:
    page = visit("?like=blue-hexagon-1.png")
    keeping(page, "hexagon").click()
    page.get_by_role("button", name="Leave out disc").click()
    expect(page).to_have_url(re.compile("any=hexagon&none=disc"))
    expect(page.locator("#found-summary")).to_contain_text("11 pictures")
    here = found(page)
    elsewhere = visit("?" + query_of(page))
    assert found(elsewhere) == here
    expect(keeping(elsewhere, "hexagon")).to_have_attribute("aria-pressed", "true")


def test_results_can_be_opened_in_a_new_tab(visit: Open) -> None:
    page = visit("?like=blue-hexagon-1.png")
    found(page)
    with page.context.expect_page() as opened:
        page.locator(".card a").first.click(modifiers=["ControlOrMeta"])
    expect(opened.value.locator(".card").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"like=blue-hexagon-1\.png$"))


def test_a_link_to_a_picture_of_another_browser_is_explained(
    visit: Open, accessible: Callable[[Page], None]
) -> None:
    page = visit("?picture=elsewhere")
    expect(page.locator("#notice")).to_contain_text("This picture is no longer here")
    accessible(page)


def test_the_keyboard_alone_leads_to_results(visit: Open) -> None:
    page = visit()
    expect(page.locator("#starts-list a").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the search")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose a picture")).to_be_focused()
    outline = page.locator("#welcome .primary").evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Tab")
    expect(page.locator("#starts-list a").first).to_be_focused()
    page.keyboard.press("Enter")
    assert len(found(page)) == 24


# --- problems -------------------------------------------------------------------------------------


def test_files_that_are_not_pictures_are_not_uploaded(
    visit: Open, red_square: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    expect(page.locator("#starts-list a").first).to_be_visible()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    give(page, b"words", "notes.txt", "text/plain")
    expect(page.get_by_role("alert")).to_contain_text("This is not a picture")
    accessible(page)
    give(page, bytes(200_001), "huge.png")
    expect(page.get_by_role("alert")).to_contain_text(
        "“huge.png” has 200 kB; this server accepts up to 200 kB"
    )
    assert "POST" not in sent


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (b"GIF89a" + bytes(40), "not a picture of an accepted format (JPEG, PNG, WEBP, AVIF)"),
        (None, "image: "),
    ],
    ids=["another format", "cut off"],
)
def test_an_unreadable_picture_is_explained(
    visit: Open,
    red_square: bytes,
    damaged: bytes | None,
    says: str,
    accessible: Callable[[Page], None],
) -> None:
    page = visit()
    give(page, damaged or red_square[: len(red_square) // 2], "torn.png")
    expect(page.locator("#notice")).to_contain_text("This picture cannot be read")
    expect(page.locator("#notice")).to_contain_text(says)
    expect(page.locator("#live")).to_contain_text("“torn.png”")
    accessible(page)
    # The next picture replaces the message.
    give(page, red_square)
    assert found(page)[0] == "red-square"
    expect(page.locator("#notice")).to_be_hidden()


def test_a_search_on_a_busy_server_is_retried(
    visit: Open, red_square: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    refusals = []

    def refuse_once(route: Route) -> None:
        if refusals:
            route.fallback()
            return
        refusals.append(route)
        route.fulfill(status=503, headers={"Retry-After": "3"}, json={"error": "busy"})

    page.route("**/search", refuse_once)
    give(page, red_square)
    expect(page.locator("#notice")).to_contain_text("will be tried again in 3 seconds")
    accessible(page)
    assert found(page)[0] == "red-square"
    expect(page.locator("#notice")).to_be_hidden()


def test_retries_end_if_the_server_stays_busy(visit: Open, red_square: bytes) -> None:
    page = visit()
    page.clock.install()
    asked = []

    def refuse(route: Route) -> None:
        asked.append(route)
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "busy"})

    page.route("**/search", refuse)
    give(page, red_square)
    for _ in range(4):
        expect(page.locator("#notice")).to_contain_text("tried again in 1 second.")
        with page.expect_response("**/search"):
            page.clock.fast_forward(1000)
    expect(page.locator("#notice")).to_contain_text("Too many people are searching right now")
    assert len(asked) == 5
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    assert found(page)[0] == "red-square"


def test_an_unreachable_server_can_be_tried_again(
    visit: Open, red_square: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.route("**/search", lambda route: route.abort())
    give(page, red_square)
    expect(page.locator("#notice")).to_contain_text("The server does not answer")
    accessible(page)
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    assert found(page)[0] == "red-square"

    page.route("**/about", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("The server does not answer")
    accessible(page)
    page.unroute("**/about")
    page.get_by_role("button", name="Try again").click()
    assert found(page)[0] == "red-square"


def test_other_errors_are_shown(visit: Open) -> None:
    page = visit("?like=nowhere.png")
    expect(page.locator("#notice")).to_contain_text("This picture is not in the index")
    page.route(
        "**/similar-to/**",
        lambda route: route.fulfill(status=500, json={"error": "internal error; see the log"}),
    )
    page.goto(page.url.replace("nowhere", "red-disc-0"))
    expect(page.locator("#notice")).to_contain_text("The server says: internal error; see the log")


def test_results_of_two_indexes_are_not_mixed(visit: Open) -> None:
    page = visit("?like=red-disc-0.png")
    assert len(found(page)) == 24
    offsets = []

    def of_another(route: Route) -> None:
        answer = route.fetch().json()
        offsets.append(answer["offset"])
        for result in answer["results"]:
            result["item_id"] = "new"
        route.fulfill(json={**answer, "index": "another"})

    page.route("**/similar-to/**", of_another)
    page.route(
        "**/about", lambda route: route.fulfill(json={**route.fetch().json(), "pictures": 99})
    )
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(47)
    assert set(found(page)) == {"new"}
    assert offsets == [24, 0]
    expect(page.locator("#found-summary")).to_have_text("The 47 most similar of 99 pictures.")


def test_a_query_that_is_not_in_the_catalogue_is_explained(
    visit: Open, two_shapes: bytes, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    give(page, two_shapes)
    assert len(found(page)) == 24
    expect(page.locator("#notice")).to_contain_text("Probably not in this catalogue")
    expect(page.locator("#notice")).to_contain_text("Draw a frame around one")
    expect(page.locator(".divider")).to_have_count(0)
    accessible(page)


def test_an_empty_index_is_explained(visit: Open, accessible: Callable[[Page], None]) -> None:
    page = visit()

    def empty(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "pictures": 0})

    page.route("**/about", empty)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing to search yet")
    expect(page.locator("pre")).to_contain_text("siamese index --labeled-data")
    accessible(page)


def test_without_pictures_the_results_show_names(
    visit: Open,
    searcher: Searcher,
    settings: Settings,
    red_square: bytes,
    accessible: Callable[[Page], None],
) -> None:
    with running(searcher, replace(settings, image_dir=None)) as address:
        page = visit(at=address)
        give(page, red_square)
        assert found(page)[0] == "red-square"
        expect(page.locator(".card .tile.without")).to_have_count(24)
        expect(page.locator("#no-pictures")).to_be_visible()
        accessible(page)
        page.locator(".card a").nth(1).click()
        expect(page).to_have_url(re.compile("like="))
        found(page)
        expect(page.locator("#stage")).to_be_hidden()
        accessible(page)


def test_a_missing_picture_is_replaced_by_its_initial(visit: Open) -> None:
    page = visit()
    page.route("**/thumbnails/**", lambda route: route.fulfill(status=404, json={"error": "gone"}))
    page.goto(page.url + "?like=red-disc-0.png")
    found(page)
    expect(page.locator(".card").first.locator(".without")).to_be_visible()
    expect(page.locator(".card a").first).to_have_accessible_name("99% similar red-triangle")


def test_the_page_asks_for_the_key_and_keeps_it(
    visit: Open, searcher: Searcher, settings: Settings, accessible: Callable[[Page], None]
) -> None:
    with running(searcher, replace(settings, api_keys=("open-sesame",))) as address:
        page = visit("?like=red-disc-0.png", at=address)
        dialog = page.get_by_role("dialog", name="This search needs a key")
        expect(dialog).to_be_visible()
        accessible(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", level=1)).to_have_text("This search needs a key")
        page.get_by_role("button", name="Enter the key").click()
        page.get_by_label("API key").fill("problems")
        page.get_by_role("button", name="Continue").click()
        expect(dialog).to_contain_text("This key was not accepted")
        page.get_by_label("API key").fill("open-sesame")
        page.keyboard.press("Enter")
        assert len(found(page)) == 24
        # The server would refuse requests of the <img> elements, which have no key.
        first = page.locator(".card .tile.loaded img").first
        first.wait_for()
        assert first.get_attribute("src").startswith("blob:")  # type: ignore[union-attr]
        page.locator("#stage.loaded").wait_for()
        page.reload()
        found(page)
        expect(dialog).to_be_hidden()


# --- appearance -----------------------------------------------------------------------------------


def test_the_page_follows_dark_mode_and_reduced_motion(visit: Open) -> None:
    def paper(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)))

    assert paper(visit(color_scheme="light")) > 700
    assert paper(visit(color_scheme="dark")) < 100
    moving = "getComputedStyle(document.querySelector('.card')).animationName"
    for motion, name in (("reduce", "none"), ("no-preference", "rise")):
        page = visit("?like=red-disc-0.png", reduced_motion=motion)
        found(page)
        assert page.evaluate(moving) == name


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_the_page_fits_every_screen(visit: Open, width: int) -> None:
    page = visit(
        "?like=red-disc-0.png&any=disc&any=square&none=hexagon",
        size={"width": width, "height": 800},
    )
    found(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    columns = page.locator("#grid").evaluate("e => getComputedStyle(e).gridTemplateColumns")
    assert len(columns.split()) >= 2


def test_late_pictures_do_not_move_the_layout(visit: Open) -> None:
    page = visit("?like=red-disc-0.png")

    def heights() -> list[float]:
        found(page)
        return page.locator(".tile").evaluate_all("all => all.map((each) => each.clientHeight)")

    with_pictures = heights()
    page.route("**/thumbnails/**", lambda route: route.abort())
    page.reload()
    assert heights() == with_pictures
