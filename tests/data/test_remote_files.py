from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

import utilities
from siamese.cli.main import cli
from siamese.data import remote_files
from siamese.data.catalogue import Catalogue
from siamese.data.check import check_catalogue, quick_check
from siamese.data.images import PictureError, open_picture, square_picture
from siamese.data.remote_files import RemoteFolder, as_folder, get_remote_folder
from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError


def assert_same(one, other):
    assert [picture.filename for picture in one.pictures] == [
        picture.filename for picture in other.pictures
    ]
    assert one.contents == other.contents
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


@pytest.mark.parametrize(
    "place", ["photos", "/data/photos", "C:/photos", Path("a"), "file:///data"]
)
def test_as_folder_of_a_path(place):
    assert as_folder(place) == Path(str(place).removeprefix("file://"))


def test_as_folder_returns_one_object_per_url():
    folder = as_folder("memory://photos/")
    assert isinstance(folder, RemoteFolder)
    assert folder is as_folder("memory://photos/") is as_folder(folder)
    assert str(folder) == "memory://photos"
    assert str(folder / "a/b.jpg") == "memory://photos/a/b.jpg"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("nowhere://photos", "nowhere://photos: .*Protocol not known"),
        ("memory://photos?token=1", r"the URL of a folder has no \? or #"),
    ],
)
def test_as_folder_errors_are_one_line(place, line):
    with pytest.raises(InputError, match=line) as raised:
        as_folder(place)
    assert len(raised.value.lines) == 1 and "token" not in str(raised.value)


def test_password_is_never_shown():
    folder = RemoteFolder("memory://user:secret@photos")
    for shown in (str(folder), repr(folder), str(folder / "a.jpg"), repr(folder / "a.jpg")):
        assert "secret" not in shown and "photos" in shown


def test_pickled_file_keeps_its_status(in_memory):
    file = as_folder("memory://photos") / "50% off #1?.png"
    there = pickle.loads(pickle.dumps(file))
    in_memory.store.clear()
    assert there == file
    assert there.stat() == file.stat()  # without listing the folder again


def test_very_large_file_is_not_read(in_memory, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_FILE_BYTES", 10)
    with pytest.raises(PictureError, match=r"unreadable \(file too large\)"):
        open_picture(as_folder("memory://photos") / "50% off #1?.png")


def test_vectors_equal_those_of_a_local_folder(embedder, photos, url):
    local = embed_catalogue(embedder, Catalogue.read(photos / "items.json"))
    remote = embed_catalogue(embedder, Catalogue.read(photos / "items.json", url))
    assert remote.skipped == []
    assert_same(remote, local)


def test_check_finds_the_same_problems_as_locally(photos, url, in_memory, request):
    names = [p.filename for p in Catalogue.read(photos / "items.json").pictures]
    empty, text, missing, twin = names[3], names[8], names[12], names[20]
    (photos / empty).write_bytes(b"")
    (photos / text).write_text("no picture")
    (photos / missing).unlink()
    shutil.copy(photos / names[30], photos / twin)
    for name in (empty, text, twin):
        in_memory.pipe_file(f"/photos/{name}", (photos / name).read_bytes())
    in_memory.rm(f"/photos/{missing}")
    local = check_catalogue(photos / "items.json")
    remote = check_catalogue(photos / "items.json", url)

    def describe(report):
        return {
            (p.kind, p.problem, p.item_id, p.filename) for p in (*report.errors, *report.warnings)
        }

    assert describe(remote) == describe(local)
    assert {p.filename for p in remote.errors} >= {empty, text, missing}


def test_quick_check_requests_few_pictures(photos, server, monkeypatch):
    monkeypatch.setattr("siamese.data.check.SAMPLE_SIZE", 4)
    assert quick_check(Catalogue.read(photos / "items.json", server.url)).errors == []
    assert 0 < sum(server.requests.values()) <= 4
    (fatal,) = quick_check(Catalogue.read(photos / "items.json", f"{server.url}/no")).fatal
    assert fatal.problem == (
        f"none of 4 pictures requested is in {server.url}/no; give the right --image-dir"
    )


def test_wrong_folder_is_found_by_quick_check(photos, in_memory):
    catalogue = Catalogue.read(photos / "items.json", "memory://nowhere")
    (fatal,) = quick_check(catalogue).fatal
    assert "no such bucket or folder" in fatal.problem or "give the right" in fatal.problem


def test_training_reads_remote_pictures(photos, url, catalogue):
    from siamese.training.pair_generator import PairGenerator

    read = Catalogue.read(photos / "items.json", url)
    options = {"picture_size": 32, "batch_size": 16, "seed": 3}
    remote, local = (
        PairGenerator(read, **options),
        PairGenerator(Catalogue.read(photos / "items.json"), **options),
    )
    assert remote.skipped == local.skipped == []
    np.testing.assert_array_equal(remote[0][0], local[0][0])


def test_filename_of_a_catalogue_cannot_leave_the_folder(photos, server):
    (photos.parent / "secret.png").write_bytes(b"x")
    listed = photos / "out.json"
    for name in ("../secret.png", "/secret.png", "a/../../secret.png"):
        listed.write_text(json.dumps({"item": {"images": [{"filename": name}], "labels": []}}))
        with pytest.raises(InputError, match=r"leaves --image-dir|absolute path"):
            Catalogue.read(listed, server.url)
    name = "http://127.0.0.1/secret.png"
    listed.write_text(json.dumps({"item": {"images": [{"filename": name}], "labels": []}}))
    catalogue = Catalogue.read(listed, server.url)
    with pytest.raises(PictureError, match="file missing"):
        square_picture(catalogue.path_of(catalogue.pictures[0]), 32)
    assert all(asked.startswith("http:/127.0.0.1") for _, asked in server.requests)


def test_filename_of_an_index_cannot_leave_the_folder():
    for name in ("../secret.png", "/secret.png", "a/../../secret.png"):
        with pytest.raises(InputError, match="leaves memory://photos"):
            as_folder("memory://photos") / name


def test_unchanged_pictures_are_downloaded_only_once(embedder, photos, server, tmp_path):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    store = EmbeddingStore(tmp_path / "store")
    first = embed_catalogue(embedder, catalogue, store=store)
    assert server.downloads == len(catalogue.pictures)
    server.requests.clear()
    again = embed_catalogue(embedder, catalogue, store=store)
    assert_same(again, first)
    assert server.downloads == 0
    assert sum(server.requests.values()) == len(catalogue.pictures)  # one HEAD per picture

    changed = catalogue.pictures[7].filename
    shutil.copy(photos / catalogue.pictures[40].filename, photos / changed)
    server.requests.clear()
    third = embed_catalogue(embedder, catalogue, store=store)
    assert server.requests["GET", changed] == server.downloads == 1
    np.testing.assert_allclose(third.vectors[7], first.vectors[40], atol=1e-6)


def test_bytes_are_compared_if_the_server_sends_no_versions(
    embedder, photos, server, tmp_path, monkeypatch
):
    server.sends_versions = False
    catalogue = Catalogue.read(photos / "items.json", server.url)
    store = EmbeddingStore(tmp_path / "store")
    embed_catalogue(embedder, catalogue, store=store)
    server.requests.clear()
    done = embed_into_store(embedder, store, catalogue)
    assert (done.new, done.pictures) == (0, len(catalogue.pictures))
    assert server.downloads == len(catalogue.pictures)


def test_folder_is_listed_once(embedder, photos, in_memory, tmp_path, monkeypatch):
    asked = Counter()
    for name in ("find", "info", "cat_file"):
        plain = getattr(type(in_memory), name)

        def counted(self, *words, _plain=plain, _name=name, **options):
            asked[_name] += 1
            return _plain(self, *words, **options)

        monkeypatch.setattr(type(in_memory), name, counted)
    catalogue = Catalogue.read(photos / "items.json", "memory://photos")
    store = EmbeddingStore(tmp_path / "store")
    embed_into_store(embedder, store, catalogue)
    assert (asked["find"], asked["cat_file"]) == (1, len(catalogue.pictures))
    asked.clear()
    get_remote_folder.cache_clear()  # as in a new process
    catalogue = Catalogue.read(photos / "items.json", "memory://photos")
    assert embed_into_store(embedder, store, catalogue).new == 0
    assert asked["cat_file"] == 0 and asked["find"] == 1


def test_second_run_in_a_process_sees_changes(embedder, photos, in_memory, tmp_path):
    catalogue = Catalogue.read(photos / "items.json", "memory://photos")
    store = EmbeddingStore(tmp_path / "store")
    before = embed_catalogue(embedder, catalogue, store=store)
    one, other = catalogue.pictures[0].filename, catalogue.pictures[-1].filename
    in_memory.pipe_file(f"/photos/{one}", (photos / other).read_bytes())
    after = embed_catalogue(embedder, catalogue, store=store)
    assert after.contents[0] == before.contents[-1] != before.contents[0]


def test_embed_index_and_search_commands(photos, server, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    flags = ["--labeled-data", str(photos / "items.json"), "--image-dir", server.url]
    model = ["--keras-model", str(checkpoint)]
    done = runner.invoke(cli, ["embed", *flags, *model, "--output", "vectors", "--json"])
    assert done.exit_code == 0, done.output
    pictures = json.loads(done.stdout)["pictures"]
    assert pictures == len(Catalogue.read(photos / "items.json").pictures)
    done = runner.invoke(utilities.main, ["--export", "balltree", *flags, *model])
    assert done.exit_code == 0, done.output
    found = runner.invoke(
        cli,
        ["search", str(photos / "ä ö+&.png"), *flags[2:], *model, "--output", "found.html"],
    )
    assert found.exit_code == 0, found.output
    assert Path("found.html").read_text().count("data:image/jpeg") > 5


def test_embed_command_with_an_unknown_url(photos, checkpoint):
    flags = ["--labeled-data", str(photos / "items.json"), "--keras-model", str(checkpoint)]
    done = CliRunner().invoke(cli, ["embed", *flags, "--image-dir", "nowhere://photos"])
    assert done.exit_code == 2
    assert "nowhere://photos: " in done.stderr and "Traceback" not in done.stderr


@contextmanager
def s3(bucket: str):
    """Run moto's imitation of Amazon S3 with a bucket."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
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


def test_s3_bucket(embedder, photos, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3("shop") as (filesystem, endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for path in photos.rglob("*"):
            if path.is_file():
                filesystem.pipe_file(f"shop/photos/{path.relative_to(photos)}", path.read_bytes())
        catalogue = Catalogue.read(photos / "items.json", "s3://shop/photos")
        assert quick_check(catalogue).errors == []
        store = EmbeddingStore(tmp_path / "store")
        assert_same(
            embed_catalogue(embedder, catalogue, store=store),
            embed_catalogue(embedder, Catalogue.read(photos / "items.json")),
        )
        get_remote_folder.cache_clear()
        gone = catalogue.pictures[5].filename
        filesystem.rm(f"shop/photos/{gone}")
        filesystem.invalidate_cache()
        catalogue = Catalogue.read(photos / "items.json", "s3://shop/photos")
        done = embed_into_store(embedder, store, catalogue)
        assert done.new == 0
        assert [(one.filename, one.reason) for one in done.skipped] == [(gone, "file missing")]
        with pytest.raises(InputError, match="s3://none/here: no such bucket or folder"):
            quick_check(Catalogue.read(photos / "items.json", "s3://none/here"))


def test_failed_request_is_not_repeated_to_decode(embedder, photos, server):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    name = catalogue.pictures[0].filename
    server.failures[name] = [503] * 100
    done = embed_catalogue(embedder, catalogue)
    assert [skipped.filename for skipped in done.skipped] == [name]
    tries = 3
    assert server.requests["GET", name] == tries  # fsspec sends them if HEAD fails
    assert server.requests["HEAD", name] == tries


def test_check_downloads_each_picture_once(photos, server):
    twin = photos / "twin.png"
    listed = json.loads((photos / "items.json").read_text())
    first = listed[next(iter(listed))]["images"]
    shutil.copy(photos / first[0]["filename"], twin)
    first.append({"filename": twin.name})
    (photos / "items.json").write_text(json.dumps(listed))
    report = check_catalogue(photos / "items.json", server.url)
    assert ["same bytes" in problem.problem for problem in report.warnings] == [True]
    gets = {name: count for (method, name), count in server.requests.items() if method == "GET"}
    assert set(gets.values()) == {1} and len(gets) == report.pictures
