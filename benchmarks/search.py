"""Speed, size and recall of search: the engines of this project and their peers, on one catalogue.

Vectors that lie as the embeddings of a real catalogue do, at several sizes; each engine is built
and asked in processes of its own, at its own settings, and the peers look as widely as they must
to have the recall of our faiss::

    python benchmarks/search.py --labeled-data items.json --image-dir photos

The peers, `pip install usearch==2.26.6 hnswlib==0.8.0`, live in an environment of their own, which
is made in the work folder when it is first needed. Prints one table a size, as Markdown. What was
finished is kept in the work folder and not repeated; remove its folder to have it measured anew.
docs/performance.md tells what is measured. For Linux, which knows how much memory a process has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environments import create_environment, run_logged
from search_engines.engines import ENGINES, PEERS
from search_engines.vectors import (
    ELSEWHERE,
    NEIGHBOURHOOD,
    K,
    describe_shape,
    nearest,
    prepare,
    reduce_dimensions,
)

from siamese.cli.loading import model_context
from siamese.cli.output import report_errors
from siamese.data.catalogue import Catalogue
from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.errors import InputError
from siamese.utils.files import atomic_path, lock_folder

HERE = Path(__file__).resolve().parent

ENVIRONMENT = ("usearch==2.26.6", "hnswlib==0.8.0", "numpy==2.4.6")
"""What is installed for the peers; hnswlib is compiled, for this very processor."""

RECALL = 0.99
"""Of the peers, where our faiss is not measured, or compares all pictures, as no graph does."""


@dataclass(frozen=True)
class Benchmark:
    """A catalogue of one size, and what holds for all engines.

    Attributes
    ----------
    data : the folder of `search_engines.vectors.prepare`
    folder : of the engines' files and what was measured
    seconds : most time for each measurement of searches
    limit : most time for a process, in seconds
    min_recall : what our faiss is built for
    peers_python : of the environment of the peers
    """

    data: Path
    folder: Path
    seconds: float
    limit: float
    min_recall: float
    peers_python: Path | None

    def measured(self, engine: str, recall: float) -> dict[str, Any]:
        """Build and ask an engine; or read what an earlier run has left.

        Parameters
        ----------
        recall : what a peer has to reach

        Returns
        -------
        `build` and `ask`, see `search_engines.measure`

        Raises
        ------
        InputError
            It failed or took too long; its log is named.
        """
        building = ["--recall", self.min_recall] if engine == "faiss" else []
        asking = ["--seconds", self.seconds, *(["--recall", recall] if engine in PEERS else [])]
        return {
            "build": self._part("build", engine, building),
            "ask": self._part("ask", engine, asking),
        }

    def _part(self, part: str, engine: str, flags: Sequence[object]) -> dict[str, Any]:
        folder = self.folder / engine
        result, path = folder / f"{part}.json", folder / "index"
        told = [str(word) for word in flags]
        if result.is_file() and (kept := json.loads(result.read_text()))["flags"] == told:
            return kept["measured"]
        print(f"{self.data.name}: {part} {engine} …", file=sys.stderr, flush=True)
        if part == "build":
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        else:
            read_through(path)
        python = self.peers_python if engine in PEERS else sys.executable
        call = [python, "-m", "search_engines.measure", part, engine, self.data, path]
        measured = folder / "measured.json"
        run_logged(
            [*call, measured, *told],
            folder / "log.txt",
            python_path=[HERE, HERE.parent],
            timeout=self.limit,
        )
        kept = {"flags": told, "measured": json.loads(measured.read_text())}
        with atomic_path(result) as temporary:
            temporary.write_text(json.dumps(kept, indent=1))
        measured.unlink()
        return kept["measured"]


def read_through(path: Path) -> None:
    """Read a file or a folder, so that it is in the page cache."""
    for file in (path, *path.rglob("*")):
        if file.is_file():
            with file.open("rb") as content:
                while content.read(2**24):
                    pass


def source_of(given: argparse.Namespace) -> Path:
    """The file of the real embeddings; those of a catalogue are made, and kept in the work folder.

    They stand under the hash of the catalogue's JSON file.
    """
    if given.embeddings is not None:
        return given.embeddings
    source = (
        given.work_dir / f"embeddings-{given.labeled_data.stem}-{_hash(given.labeled_data)}.npy"
    )
    if not source.is_file():
        from siamese.embedding.embedder import Embedder

        catalogue = Catalogue.read(given.labeled_data, given.image_dir)
        with model_context(load_keras=True):
            vectors = embed_catalogue(Embedder.pretrained(), catalogue).vectors
        with atomic_path(source) as temporary:
            np.save(temporary, vectors)
    return source


def real_embeddings(source: Path, dimensions: int) -> np.ndarray:
    """The embeddings that the vectors are made of, float32 (n, `dimensions`).

    Raises
    ------
    InputError
        If there are too few, or they have fewer dimensions.
    """
    try:
        embeddings = np.load(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: not an array of embeddings ({error})") from None
    fewest = NEIGHBOURHOOD + ELSEWHERE + 1
    if embeddings.ndim != 2 or len(embeddings) < fewest:
        raise InputError(f"{source}: shape {embeddings.shape}; give at least {fewest} embeddings")
    if embeddings.shape[1] < dimensions:
        raise InputError(
            f"{source}: embeddings of {embeddings.shape[1]} dimensions; give as many or fewer as "
            "--dimensions"
        )
    return reduce_dimensions(embeddings, dimensions)


def _hash(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=4).hexdigest()


def table(results: Mapping[str, dict[str, Any]]) -> str:
    """What was measured at one size as a Markdown table.

    Parameters
    ----------
    results : what `Benchmark.measured` returns, by engine
    """
    lines = [
        "| | build s | file MB | resident MB | open ms | p50 ms | p99 ms | queries/s | recall@10 "
        "| 1 %: p50 ms | queries/s | recall@10 | × BallTree | × best peer |",
        "|---|" + "--:|" * 13,
    ]
    tree = results.get("balltree")
    peer = min(
        (
            done["ask"]["all"]["p50_ms"]
            for engine, done in results.items()
            if engine in PEERS and done["ask"]["reached"]
        ),
        default=None,
    )
    for engine, done in results.items():
        built, asked = done["build"], done["ask"]
        every, seldom = asked["all"], asked["seldom"]
        cells = [
            _title(engine, asked),
            f"{built['seconds']:,.1f}",
            f"{built['megabytes']:,.0f}",
            f"{asked['resident_mb']:,.0f}",
            f"{asked['open_ms']:,.0f}",
            *(f"{every[name]:,.2f}" for name in ("p50_ms", "p99_ms")),
            f"{every['per_second']:,.0f}",
            f"{every['recall']:.3f}",
        ]
        if seldom is None:
            cells += ["–"] * 3
        else:
            cells += [
                f"{seldom['p50_ms']:,.2f}",
                f"{seldom['per_second']:,.0f}",
                f"{seldom['recall']:.3f}",
            ]
        cells += [
            "–" if tree is None else _ratio(every["per_second"], tree["ask"]["all"]["per_second"]),
            "–" if peer is None else _ratio(every["p50_ms"], peer),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _title(engine: str, asked: dict[str, Any]) -> str:
    """The name of an engine, and what has to be said of how it was asked."""
    words = [ENGINES[engine].title]
    if "ef" in asked:
        words.append(f"ef {asked['ef']}" + ("" if asked["reached"] else ", less recall than asked"))
    if asked["all"]["asked"] < asked["queries"]:
        words.append(f"{asked['all']['asked']} queries")
    return ", ".join(words)


def _ratio(one: float, other: float) -> str:
    ratio = one / other
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def shape_line(name: str, shape: Mapping[str, float]) -> str:
    """How some vectors lie, in one line."""
    return (
        f"{name}: intrinsic dimension {shape['dimension']:.1f} ({shape['two_nn']:.1f} by the "
        f"nearest two), nearest at {shape['nearest']:.2f} ({shape['nearest_low']:.2f} to "
        f"{shape['nearest_high']:.2f}), tenth at {shape['tenth']:.2f}"
    )


def end_to_end_line(engine: str, asked: Mapping[str, Any]) -> str:
    """What a search takes beside the index, in one line."""
    whole, found = asked["search_vectors"], asked["found"]
    return (
        f"{ENGINES[engine].title}{f' ({found})' if found else ''}: from query vector to ranked "
        f"metadata, by `Searcher.search_vectors`, {whole['p50_ms']:.2f} ms; "
        f"{whole['added_ms']:+.2f} ms on top of the index."
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    about = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in about.splitlines() if "model name" in line]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.processor(),
        "system": platform.system(),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--labeled-data", type=Path, help="catalogue that the pretrained model embeds"
    )
    source.add_argument("--embeddings", type=Path, help="or embeddings, .npy of shape (n, d)")
    parser.add_argument("--image-dir", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--min-recall",
        type=float,
        default=0.98,
        help="what our faiss is built for",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20,
        help="most time for each measurement; slow engines are asked fewer queries",
    )
    parser.add_argument(
        "--limit", type=float, default=3600, help="seconds after which an engine is given up"
    )
    parser.add_argument("--work-dir", type=Path, default=Path("search"))
    parser.add_argument(
        "--peers-python", type=Path, help="Python that has usearch and hnswlib already"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    given = parser.parse_args()
    given.engines = [engine for engine in ENGINES if engine in given.engines]
    given.work_dir = given.work_dir.absolute()
    return given


def main() -> None:
    """Measure what is not done yet, and print the tables."""
    given = _arguments()
    with report_errors():
        given.work_dir.mkdir(parents=True, exist_ok=True)
        with lock_folder(given.work_dir):
            failures = compare(given)
        if failures:
            raise InputError(failures)


def compare(given: argparse.Namespace) -> list[str]:
    """Measure, print and write; returns what failed."""
    source = source_of(given)
    real = real_embeddings(source, given.dimensions)
    distances, _ = nearest(real, real, K, own=True)
    document: dict[str, Any] = {
        "machine": machine(),
        "real": describe_shape(distances),
        "sizes": {},
    }
    peers = given.peers_python
    if peers is None and set(PEERS) & set(given.engines):
        peers = create_environment(given.work_dir / "environment", ENVIRONMENT)
    failures: list[str] = []
    print(shape_line(f"{len(real):,} real embeddings", document["real"]))
    for size in given.sizes:
        name = f"{size}x{given.dimensions}-{given.queries}-{given.seed}-{_hash(source)}"
        data = given.work_dir / "catalogues" / name
        facts = prepare(data, real, size, given.queries, given.seed)
        benchmark = Benchmark(
            data,
            given.work_dir / "results" / name,
            given.seconds,
            given.limit,
            given.min_recall,
            peers,
        )
        results: dict[str, dict[str, Any]] = {}
        for engine in given.engines:
            ours = results.get("faiss")
            recall = 1 if ours is None else ours["ask"]["all"]["recall"]
            recall = RECALL if recall == 1 else recall
            try:
                results[engine] = benchmark.measured(engine, recall)
            except InputError as error:
                failures += [f"{name}: {engine}: {line}" for line in error.lines]
                print(f"error: {failures[-1]}", file=sys.stderr)
        document["sizes"][size] = {**facts, "engines": results}
        print(f"\n### {size:,} × {given.dimensions}\n")
        print(shape_line(f"{facts['items']:,} items", facts["shape"]))
        print(f"\n{table(results)}")
        for engine, done in results.items():
            if "search_vectors" in done["ask"]:
                print(f"\n{end_to_end_line(engine, done['ask'])}", flush=True)
    print(f"\n{machine_line(document)}")
    if given.json is not None:
        with atomic_path(given.json) as temporary:
            temporary.write_text(json.dumps(document, indent=1))
    return failures


def machine_line(document: Mapping[str, Any]) -> str:
    """The machine, and the versions of what was measured on it."""
    versions: dict[str, str] = {}
    for of_size in document["sizes"].values():
        for done in of_size["engines"].values():
            versions |= done["build"]["versions"]
    about = document["machine"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{about['cores']} cores of {about['processor']}, {about['system']}; {listed}."


if __name__ == "__main__":
    main()
