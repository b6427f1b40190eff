"""On a real cluster: two nodes on this machine, whose workers, nodes and drivers are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="Ray is an extra: pip install 'ray[data]'")
pytest.importorskip("fsspec", reason="Ray Data is an extra: pip install 'ray[data]'")

import siamese.embedding.ray.cluster as cluster_module
from siamese.data.catalogue import Catalogue
from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.embedder import Embedder
from siamese.embedding.ray.executor import RayExecutor
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[3]
STORE_MEMORY = 80_000_000

DRIVER = """
import sys
import siamese.embedding.store as store
store.SHARD_PICTURES = 16
from siamese.cli.main import main
main()
"""
"""A run of `siamese` that writes what it has after few pictures."""


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node = {"num_cpus": 1, "object_store_memory": STORE_MEMORY, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        made.add_node(num_cpus=1, object_store_memory=STORE_MEMORY)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """300 pictures that take a while to decode, each fifteenth of them broken or missing."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    items = {}
    for kind in range(20):
        colours = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
        first = folder / f"{kind}-0.png"
        colours.resize((1200, 1000)).save(first, compress_level=1)
        names = [f"{kind}-{copy}.png" for copy in range(15)]
        for name in names[1:14]:
            os.link(first, folder / name)
        if kind % 2:
            (folder / names[14]).write_text("no picture")
        items[str(kind)] = {"images": [{"filename": name} for name in names]}
    (folder / "items.json").write_text(json.dumps(items))
    return Catalogue.read(folder / "items.json")


@pytest.fixture(scope="module")
def local(checkpoint, photos):
    return embed_catalogue(Embedder.load(checkpoint), photos)


@pytest.fixture
def embedder(checkpoint):
    return Embedder.load(checkpoint)


@pytest.fixture
def executor(cluster):
    return RayExecutor(cluster.address)


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "kept")


def require_same(got, local):
    assert got.pictures == local.pictures
    np.testing.assert_allclose(got.vectors, local.vectors, atol=1e-5)
    assert got.skipped == local.skipped
    assert got.contents == local.contents


def actors(cluster) -> list[int]:
    """The processes of this cluster that embed."""
    raylets = {
        info.process.pid
        for node in cluster.list_all_nodes()
        for info in node.all_processes.get("raylet", [])
    }
    found = []
    for process in Path("/proc").iterdir():
        try:
            if b"MapWorker" not in (process / "cmdline").read_bytes():
                continue
            if int((process / "stat").read_text().rpartition(") ")[2].split()[1]) in raylets:
                found.append(int(process.name))
        except OSError:  # it has just ended
            continue
    return found


def wait_for(condition, seconds: float = 120.0):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.1)
    return found


def embed_and_interfere(embedder, executor, photos, store, interfere):
    """Embed into a store, and call `interfere` when the first batch has arrived."""

    class Interfering:
        name = executor.name

        def embed_files(self, *args):
            for number, batch in enumerate(executor.embed_files(*args)):
                yield batch
                if number == 0:
                    interfere()

    return embed_into_store(embedder, store, photos, batch_size=4, executor=Interfering())


def test_the_vectors_are_those_of_the_local_executor_and_either_continues_the_other(
    embedder, executor, photos, local, store, capfd
):
    run = embed_into_store(embedder, store, photos, executor=executor)
    assert (run.executor, run.pictures, run.new) == ("ray", 280, 280)
    assert (run.runtime, run.precision) == (embedder.runtime.name, embedder.runtime.precision)
    out, err = capfd.readouterr()
    # Nothing but our own line now and then, where it takes long.
    assert out == "" and all(line.startswith("embedding: ") for line in err.splitlines())
    again = embed_into_store(embedder, store, photos)
    assert (again.executor, again.new) == ("local", 0)
    require_same(embed_catalogue(embedder, photos, store=store), local)
    assert embed_into_store(embedder, store, photos, executor=executor).new == 0


def test_a_worker_that_is_killed_costs_nothing(embedder, executor, cluster, photos, local, store):
    seen = []

    def kill():
        pid = actors(cluster)[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    run = embed_and_interfere(embedder, executor, photos, store, lambda: seen.append(kill()))
    assert seen and run.new == 280
    require_same(embed_catalogue(embedder, photos, store=store), local)


def test_a_node_that_is_lost_costs_nothing(embedder, executor, cluster, photos, local, store):
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_MEMORY)
    cluster.wait_for_nodes()
    lost = threading.Thread(target=cluster.remove_node, args=[node, False])
    run = embed_and_interfere(embedder, executor, photos, store, lost.start)
    lost.join()
    assert run.new == 280
    require_same(embed_catalogue(embedder, photos, store=store), local)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_stopped_is_gone_on_from(
    embedder, executor, cluster, checkpoint, photos, local, store, how
):
    words = [
        "embed",
        "--labeled-data",
        photos.image_dir / "items.json",
        "--keras-model",
        checkpoint,
    ]
    words += ["--output", store.folder, "--executor", "ray", "--ray-address", cluster.address]
    words += ["--batch-size", "4"]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(list(store.folder.glob("part-*.parquet"))) >= 2)
    driver.send_signal(how)
    said = driver.communicate(timeout=60)[1]
    if how != signal.SIGKILL:
        assert driver.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
        assert "Traceback" not in said and "absl" not in said
        assert said.splitlines()[-1].startswith("stopped; finished work is saved")
    wait_for(lambda: not actors(cluster))
    run = embed_into_store(embedder, store, photos, batch_size=4, executor=executor)
    assert 0 < run.new < 270, "nothing was kept"
    require_same(embed_catalogue(embedder, photos, store=store), local)


# --- what is wrong, in one line


def embed_files(embedder, executor, files):
    return list(executor.embed_files(embedder, files, 4))


class OnDriverOnly:
    """A path that is another one elsewhere."""

    def stat(self):
        return os.stat_result([0] * 10)

    def __reduce__(self):
        return Path, ("/nowhere/a.jpg",)


def test_a_node_that_sees_no_pictures_is_named(embedder, executor):
    with pytest.raises(InputError) as raised:
        embed_files(embedder, executor, {f"{number}.jpg": OnDriverOnly() for number in range(40)})
    assert len(set(raised.value.lines)) == 1
    assert "sees no pictures: /nowhere/a.jpg and others are missing there" in raised.value.lines[0]


def test_a_node_of_another_version_is_named(embedder, executor, photos, store, monkeypatch):
    monkeypatch.setattr(cluster_module, "__version__", "99.0")
    with pytest.raises(InputError, match=r"node [\d.]+: has version .*, not 99.0"):
        embed_into_store(embedder, store, photos, executor=executor)


def test_another_model_on_a_node_is_refused(embedder, executor, photos, store):
    assert embedder.model is not None  # which is compared with its facts when it is loaded
    embedder.facts = replace(embedder.facts, fingerprint="e" * 64)
    with pytest.raises(InputError) as raised:
        embed_into_store(embedder, store, photos, executor=executor)
    (line,) = raised.value.lines
    assert "is another model there (fingerprint" in line


class Deadly:
    """What ends whoever unpickles it."""

    def stat(self):
        raise OSError

    def __reduce__(self):
        return os._exit, (1,)


def test_what_ends_every_worker_is_not_tried_for_ever(embedder, executor, photos):
    files = {one.filename: photos.path_of(one) for one in photos.pictures[:32]}
    files[photos.pictures[17].filename] = Deadly()
    with pytest.raises(InputError, match=r"pictures? from .* on: crashed the worker in each of 4"):
        embed_files(embedder, executor, files)


def test_no_cluster_at_the_address(embedder, photos, store):
    executor = RayExecutor("127.0.0.1:1")
    with pytest.raises(InputError, match="no Ray cluster answers there"):
        embed_into_store(embedder, store, photos, executor=executor)
    shutil.rmtree(store.folder)
