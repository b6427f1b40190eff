"""Pictures behind URLs: a real HTTP server, a file system in memory, and S3 where moto is."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

import utilities
from siamese.cli.main import cli
from siamese.data import remote_files, remote_requests
from siamese.data.catalogue import Catalogue
from siamese.data.check import check_catalogue, quick_check
from siamese.data.images import PictureError, open_picture, square_picture
from siamese.data.remote_files import RemoteFolder, as_folder, get_remote_folder
from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.embedder import Embedder
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError, UnavailableError


class ManyAtOnce(ThreadingHTTPServer):
    request_queue_size = 128  # of 5, which is usual, others are only let in a second later


class Server:
    """Serves a folder; counts what it is asked, and fails as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: Counter[tuple[str, str]] = Counter()
        self.tells = True
        self.failures: dict[str, list[int]] = {}
        self.cut: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, *, with_body: bool) -> None:
                name = unquote(self.path).lstrip("/")
                server.asked[self.command, name] += 1
                if server.failures.get(name):
                    self.send_error(server.failures[name].pop(0))
                    return
                path = server.folder / name
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                if server.tells:
                    self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
                    self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
                self.end_headers()
                if with_body:
                    self.wfile.write(data[: len(data) // 2] if name in server.cut else data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ManyAtOnce(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(remote_requests, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def copied(catalogue, tmp_path):
    """A copy of the catalogue's pictures, some with names that a URL must quote."""
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    listed = json.loads((folder / "items.json").read_text())
    first = next(iter(listed.values()))["images"]
    for image, name in zip(first, ["50% off #1?.png", "ä ö+&.png"], strict=False):
        (folder / image["filename"]).rename(folder / name)
        image["filename"] = name
    (folder / "items.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture
def server(copied):
    pytest.importorskip("aiohttp")
    serving = Server(copied)
    yield serving
    serving.close()


@pytest.fixture
def in_memory(copied):
    """The same folder as `memory://photos`."""
    filesystem = fsspec.filesystem("memory")
    for path in copied.rglob("*"):
        if path.is_file():
            filesystem.pipe_file(
                f"/photos/{path.relative_to(copied).as_posix()}", path.read_bytes()
            )
    get_remote_folder.cache_clear()
    yield filesystem
    filesystem.store.clear()
    get_remote_folder.cache_clear()


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint)


@pytest.fixture(params=["http", "memory"])
def url(request):
    """Where the pictures are."""
    if request.param == "http":
        return request.getfixturevalue("server").url
    request.getfixturevalue("in_memory")
    return "memory://photos"


def require_same(one, other):
    assert [picture.filename for picture in one.pictures] == [
        picture.filename for picture in other.pictures
    ]
    assert one.contents == other.contents
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


# --- folders and files


@pytest.mark.parametrize(
    "place", ["photos", "/data/photos", "C:/photos", Path("a"), "file:///data"]
)
def test_a_path_stays_a_path(place):
    assert as_folder(place) == Path(str(place).removeprefix("file://"))


def test_the_folder_of_a_url_is_the_same_each_time():
    folder = as_folder("memory://photos/")
    assert isinstance(folder, RemoteFolder)
    assert folder is as_folder("memory://photos/") is as_folder(folder)
    assert str(folder) == "memory://photos"
    assert str(folder / "a/b.jpg") == "memory://photos/a/b.jpg"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("nowhere://photos", "nowhere://photos: .*Protocol not known"),
        ("memory://photos?token=1", r"a URL with \? or # names no folder"),
    ],
)
def test_what_is_no_folder_is_one_line(place, line):
    with pytest.raises(InputError, match=line) as raised:
        as_folder(place)
    assert len(raised.value.lines) == 1 and "token" not in str(raised.value)


def test_a_driver_that_is_missing_is_one_line(monkeypatch):
    def missing(url, **_):
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(InputError) as raised:
        RemoteFolder("s3://bucket/photos")
    assert raised.value.lines == [
        "s3://bucket/photos: s3fs, which reads it, is not installed; pip install "
        "'keras-image-similarity-training[remote]'"
    ]


def test_a_password_is_shown_nowhere():
    folder = RemoteFolder("memory://user:secret@photos")
    for shown in (str(folder), repr(folder), str(folder / "a.jpg"), repr(folder / "a.jpg")):
        assert "secret" not in shown and "photos" in shown


def test_a_file_travels_with_what_is_known_of_it(in_memory):
    file = as_folder("memory://photos") / "50% off #1?.png"
    there = pickle.loads(pickle.dumps(file))
    in_memory.store.clear()
    assert there == file
    assert there.stat() == file.stat()  # without listing the folder anew


def test_what_is_absurdly_large_is_not_read(in_memory, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_FILE_BYTES", 10)
    with pytest.raises(PictureError, match=r"unreadable \(file too large\)"):
        open_picture(as_folder("memory://photos") / "50% off #1?.png")


# --- the catalogue behind a URL is the catalogue


def test_the_same_vectors_as_of_the_folder(embedder, copied, url):
    local = embed_catalogue(embedder, Catalogue.read(copied / "items.json"))
    afar = embed_catalogue(embedder, Catalogue.read(copied / "items.json", url))
    assert afar.skipped == []
    require_same(afar, local)


def test_check_finds_what_it_finds_in_the_folder(copied, url, in_memory, request):
    names = [p.filename for p in Catalogue.read(copied / "items.json").pictures]
    empty, text, missing, double = names[3], names[8], names[12], names[20]
    (copied / empty).write_bytes(b"")
    (copied / text).write_text("no picture")
    (copied / missing).unlink()
    shutil.copy(copied / names[30], copied / double)
    for name in (empty, text, double):
        in_memory.pipe_file(f"/photos/{name}", (copied / name).read_bytes())
    in_memory.rm(f"/photos/{missing}")
    local = check_catalogue(copied / "items.json")
    afar = check_catalogue(copied / "items.json", url)

    def said(report):
        return {
            (p.kind, p.problem, p.item_id, p.filename) for p in (*report.errors, *report.warnings)
        }

    assert said(afar) == said(local)
    assert {p.filename for p in afar.errors} >= {empty, text, missing}


def test_a_quick_check_asks_for_few_pictures(copied, server, monkeypatch):
    monkeypatch.setattr("siamese.data.check.SAMPLE_SIZE", 4)
    assert quick_check(Catalogue.read(copied / "items.json", server.url)).errors == []
    assert 0 < sum(server.asked.values()) <= 4
    (fatal,) = quick_check(Catalogue.read(copied / "items.json", f"{server.url}/no")).fatal
    assert fatal.problem == (
        f"none of 4 pictures requested is in {server.url}/no; give the right --image-dir"
    )


def test_a_wrong_folder_is_told_before_anything_is_embedded(copied, in_memory):
    catalogue = Catalogue.read(copied / "items.json", "memory://nowhere")
    (fatal,) = quick_check(catalogue).fatal
    assert "no such bucket or folder" in fatal.problem or "give the right" in fatal.problem


def test_training_pictures_come_from_there(copied, url, catalogue):
    from siamese.training.pair_generator import PairGenerator

    read = Catalogue.read(copied / "items.json", url)
    options = {"picture_size": 32, "batch_size": 16, "seed": 3}
    afar, local = (
        PairGenerator(read, **options),
        PairGenerator(Catalogue.read(copied / "items.json"), **options),
    )
    assert afar.skipped == local.skipped == []
    np.testing.assert_array_equal(afar[0][0], local[0][0])


def test_the_path_of_a_filename_does_not_leave_the_folder(copied, server):
    (copied.parent / "secret.png").write_bytes(b"x")
    listed = copied / "out.json"
    for name in ("../secret.png", "/secret.png", "a/../../secret.png"):
        listed.write_text(json.dumps({"item": {"images": [{"filename": name}], "labels": []}}))
        with pytest.raises(InputError, match=r"leaves --image-dir|absolute path"):
            Catalogue.read(listed, server.url)
    name = "http://127.0.0.1/secret.png"
    listed.write_text(json.dumps({"item": {"images": [{"filename": name}], "labels": []}}))
    catalogue = Catalogue.read(listed, server.url)
    with pytest.raises(PictureError, match="file missing"):
        square_picture(catalogue.path_of(catalogue.pictures[0]), 32)
    assert all(asked.startswith("http:/127.0.0.1") for _, asked in server.asked)


def test_a_filename_of_an_index_does_not_leave_the_folder():
    for name in ("../secret.png", "/secret.png", "a/../../secret.png"):
        with pytest.raises(InputError, match="leaves memory://photos"):
            as_folder("memory://photos") / name


def test_http_goes_by_the_proxy_of_the_environment(copied, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(FileNotFoundError):
        (as_folder("http://pictures.invalid/x") / "a.png").read_bytes()
    assert any("pictures.invalid/x/a.png" in name for _, name in server.asked)


# --- a second run


def downloads(server: Server) -> int:
    return sum(count for (method, _), count in server.asked.items() if method == "GET")


def test_each_picture_is_downloaded_once_and_never_again(embedder, copied, server, tmp_path):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    store = EmbeddingStore(tmp_path / "store")
    first = embed_catalogue(embedder, catalogue, store=store)
    assert downloads(server) == len(catalogue.pictures)
    server.asked.clear()
    again = embed_catalogue(embedder, catalogue, store=store)
    require_same(again, first)
    assert downloads(server) == 0
    assert sum(server.asked.values()) == len(catalogue.pictures)  # a HEAD each

    changed = catalogue.pictures[7].filename
    shutil.copy(copied / catalogue.pictures[40].filename, copied / changed)
    server.asked.clear()
    third = embed_catalogue(embedder, catalogue, store=store)
    assert server.asked["GET", changed] == downloads(server) == 1
    np.testing.assert_allclose(third.vectors[7], first.vectors[40], atol=1e-6)


def test_of_a_server_that_tells_nothing_the_bytes_are_compared(
    embedder, copied, server, tmp_path, monkeypatch
):
    server.tells = False
    catalogue = Catalogue.read(copied / "items.json", server.url)
    store = EmbeddingStore(tmp_path / "store")
    embed_catalogue(embedder, catalogue, store=store)
    server.asked.clear()
    done = embed_into_store(embedder, store, catalogue)
    assert (done.new, done.pictures) == (0, len(catalogue.pictures))
    assert downloads(server) == len(catalogue.pictures)


def test_what_can_be_listed_is_listed_once(embedder, copied, in_memory, tmp_path, monkeypatch):
    asked = Counter()
    for name in ("find", "info", "cat_file"):
        plain = getattr(type(in_memory), name)

        def counted(self, *words, _plain=plain, _name=name, **options):
            asked[_name] += 1
            return _plain(self, *words, **options)

        monkeypatch.setattr(type(in_memory), name, counted)
    catalogue = Catalogue.read(copied / "items.json", "memory://photos")
    store = EmbeddingStore(tmp_path / "store")
    embed_into_store(embedder, store, catalogue)
    assert (asked["find"], asked["cat_file"]) == (1, len(catalogue.pictures))
    asked.clear()
    get_remote_folder.cache_clear()  # as in another process
    catalogue = Catalogue.read(copied / "items.json", "memory://photos")
    assert embed_into_store(embedder, store, catalogue).new == 0
    assert asked["cat_file"] == 0 and asked["find"] == 1


def test_another_run_of_one_process_sees_what_changed(embedder, copied, in_memory, tmp_path):
    catalogue = Catalogue.read(copied / "items.json", "memory://photos")
    store = EmbeddingStore(tmp_path / "store")
    before = embed_catalogue(embedder, catalogue, store=store)
    one, other = catalogue.pictures[0].filename, catalogue.pictures[-1].filename
    in_memory.pipe_file(f"/photos/{one}", (copied / other).read_bytes())
    after = embed_catalogue(embedder, catalogue, store=store)
    assert after.contents[0] == before.contents[-1] != before.contents[0]


# --- trouble


def test_one_missing_and_one_cut_picture_are_skipped(embedder, copied, server, tmp_path):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    gone, cut = catalogue.pictures[3].filename, catalogue.pictures[9].filename
    (copied / gone).unlink()
    server.cut.add(cut)
    store = EmbeddingStore(tmp_path / "store")
    done = embed_catalogue(embedder, catalogue, store=store)
    reasons = {one.filename: one.reason for one in done.skipped}
    assert reasons.keys() == {gone, cut}
    assert reasons[gone] == "file missing"
    assert reasons[cut].startswith("unreadable (no answer")
    server.cut.clear()  # it was the line: the next run tries again, and this one alone
    server.asked.clear()
    again = embed_catalogue(embedder, catalogue, store=store)
    assert [one.filename for one in again.skipped] == [gone]
    assert server.asked["GET", cut] == 1 and downloads(server) - server.asked["GET", gone] == 1


def test_a_server_that_was_busy_is_asked_again(embedder, copied, server):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    for picture, status in zip(catalogue.pictures[:4], (500, 503, 429, 502), strict=True):
        server.failures[picture.filename] = [status] * 4  # HEAD, its GET, and the same again
    assert embed_catalogue(embedder, catalogue).skipped == []


def test_what_failed_is_not_asked_again_to_decode_it(embedder, copied, server):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    name = catalogue.pictures[0].filename
    server.failures[name] = [503] * 100
    done = embed_catalogue(embedder, catalogue)
    assert [skipped.filename for skipped in done.skipped] == [name]
    tries = 3
    assert server.asked["GET", name] == tries  # fsspec's own, where HEAD failed
    assert server.asked["HEAD", name] == tries


def test_check_downloads_each_picture_once(copied, server):
    twin = copied / "twin.png"
    listed = json.loads((copied / "items.json").read_text())
    first = listed[next(iter(listed))]["images"]
    shutil.copy(copied / first[0]["filename"], twin)
    first.append({"filename": twin.name})
    (copied / "items.json").write_text(json.dumps(listed))
    report = check_catalogue(copied / "items.json", server.url)
    assert ["same bytes" in problem.problem for problem in report.warnings] == [True]
    gets = {name: count for (method, name), count in server.asked.items() if method == "GET"}
    assert set(gets.values()) == {1} and len(gets) == report.pictures


def test_what_is_refused_is_not_asked_again(embedder, copied, server):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    name = catalogue.pictures[0].filename
    server.failures[name] = [403] * 100
    (skipped,) = embed_catalogue(embedder, catalogue).skipped
    assert (skipped.filename, skipped.reason) == (name, "unreadable (permission denied)")
    assert sum(count for (_, asked), count in server.asked.items() if asked == name) <= 6


def test_where_nothing_answers_the_run_ends_in_one_line(
    embedder, copied, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote_requests, "MAX_UNANSWERED", 5)
    server.close()
    catalogue = Catalogue.read(copied / "items.json", server.url)
    with pytest.raises(UnavailableError, match=r"no answer to \d+ consecutive requests"):
        embed_into_store(embedder, EmbeddingStore(tmp_path / "store"), catalogue)


def test_many_wait_for_a_slow_server_at_once(embedder, copied, server, monkeypatch):
    catalogue = Catalogue.read(copied / "items.json", server.url)
    most, now, lock = 0, 0, threading.Lock()
    read_bytes = remote_files.RemoteFile.read_bytes

    def slow(self):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return read_bytes(self)

    monkeypatch.setattr(remote_files.RemoteFile, "read_bytes", slow)
    embed_catalogue(embedder, catalogue)
    assert most > 8


# --- the commands


def test_embed_and_index_at_the_command_line(copied, server, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    flags = ["--labeled-data", str(copied / "items.json"), "--image-dir", server.url]
    model = ["--keras-model", str(checkpoint)]
    done = runner.invoke(cli, ["embed", *flags, *model, "--output", "vectors", "--json"])
    assert done.exit_code == 0, done.output
    pictures = json.loads(done.stdout)["pictures"]
    assert pictures == len(Catalogue.read(copied / "items.json").pictures)
    done = runner.invoke(utilities.main, ["--export", "balltree", *flags, *model])
    assert done.exit_code == 0, done.output
    found = runner.invoke(
        cli,
        ["search", str(copied / "ä ö+&.png"), *flags[2:], *model, "--output", "found.html"],
    )
    assert found.exit_code == 0, found.output
    assert Path("found.html").read_text().count("data:image/jpeg") > 5


def test_no_such_place_at_the_command_line(copied, checkpoint):
    flags = ["--labeled-data", str(copied / "items.json"), "--keras-model", str(checkpoint)]
    done = CliRunner().invoke(cli, ["embed", *flags, "--image-dir", "nowhere://photos"])
    assert done.exit_code == 2
    assert "nowhere://photos: " in done.stderr and "Traceback" not in done.stderr


# --- S3


@contextmanager
def s3(bucket: str):
    """Amazon's S3 as moto plays it, over HTTP."""
    pytest.importorskip("s3fs", reason="s3fs, of the extra `remote`, is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    serving = moto.ThreadedMotoServer(port=0)
    serving.start()
    host, port = serving.get_host_and_port()
    filesystem = fsspec.filesystem("s3", endpoint_url=f"http://{host}:{port}")
    filesystem.mkdir(bucket)
    try:
        yield filesystem, f"http://{host}:{port}"
    finally:
        serving.stop()
        get_remote_folder.cache_clear()
        filesystem.clear_instance_cache()


def test_a_bucket(embedder, copied, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3("shop") as (filesystem, endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for path in copied.rglob("*"):
            if path.is_file():
                filesystem.pipe_file(f"shop/photos/{path.relative_to(copied)}", path.read_bytes())
        catalogue = Catalogue.read(copied / "items.json", "s3://shop/photos")
        assert quick_check(catalogue).errors == []
        store = EmbeddingStore(tmp_path / "store")
        require_same(
            embed_catalogue(embedder, catalogue, store=store),
            embed_catalogue(embedder, Catalogue.read(copied / "items.json")),
        )
        get_remote_folder.cache_clear()
        gone = catalogue.pictures[5].filename
        filesystem.rm(f"shop/photos/{gone}")
        filesystem.invalidate_cache()
        catalogue = Catalogue.read(copied / "items.json", "s3://shop/photos")
        done = embed_into_store(embedder, store, catalogue)
        assert done.new == 0
        assert [(one.filename, one.reason) for one in done.skipped] == [(gone, "file missing")]
        with pytest.raises(InputError, match="s3://none/here: no such bucket or folder"):
            quick_check(Catalogue.read(copied / "items.json", "s3://none/here"))
