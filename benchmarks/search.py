"""Compare the speed, size and recall of the search backends of this project and other libraries.

The catalogues of several sizes are generated, and their vectors are distributed like the embeddings
of a real catalogue. Each engine is built and queried in separate processes with its default
settings. usearch and hnswlib ("peers") search as widely as they must to reach the recall of the
FAISS backend::

    python benchmarks/search.py --labeled-data items.json --image-dir photos

usearch and hnswlib are installed in a separate environment in the work folder. One Markdown table
is printed per size. Finished measurements are cached in the work folder; remove it to repeat them.
docs/performance.md explains the figures. This benchmark reads memory from /proc and needs Linux.
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
    NEIGHBOURHOOD,
    OUTER_NEIGHBOURS,
    K,
    describe_shape,
    find_nearest,
    prepare_catalogue,
    reduce_dimensions,
)

from siamese.cli.loading import model_context
from siamese.cli.output import report_errors
from siamese.data.catalogue import Catalogue
from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.errors import InputError
from siamese.utils.files import atomic_path, lock_folder

BENCHMARKS = Path(__file__).resolve().parent

PEER_PACKAGES = ("usearch==2.26.6", "hnswlib==0.8.0", "numpy==2.4.6")
"""Packages of the peers' environment; hnswlib is compiled for the processor of this machine."""

DEFAULT_PEER_RECALL = 0.99
"""Recall that peers must reach if FAISS is not measured or is exact, which no graph can be."""

PROGRESS = {"build": "building", "ask": "searching with"}


@dataclass(frozen=True)
class Benchmark:
    """Generated catalogue of one size, with the settings that apply to all engines.

    Attributes
    ----------
    data : Path
        Folder written by `search_engines.vectors.prepare_catalogue`.
    folder : Path
        Folder for the files and results of the engines.
    seconds : float
        Longest time of each measurement of searches.
    limit : float
        Longest time of a process, in seconds.
    min_recall : float
        Recall that the FAISS backend is built for.
    peers_python : Path or None
        Python that has the packages of the peers.
    """

    data: Path
    folder: Path
    seconds: float
    limit: float
    min_recall: float
    peers_python: Path | None

    def measure_engine(self, engine: str, recall: float) -> dict[str, Any]:
        """Build and query an engine, or read the results of an earlier run.

        Parameters
        ----------
        engine : str
            Key of `ENGINES`.
        recall : float
            Recall that a peer must reach.

        Returns
        -------
        dict
            Results of both parts, `build` and `ask`; see `search_engines.measure`.

        Raises
        ------
        InputError
            If a process fails or takes too long.
        """
        build_flags = ["--recall", self.min_recall] if engine == "faiss" else []
        search_flags = ["--seconds", self.seconds]
        if engine in PEERS:
            search_flags += ["--recall", recall]
        return {
            "build": self._run_part("build", engine, build_flags),
            "ask": self._run_part("ask", engine, search_flags),
        }

    def _run_part(self, part: str, engine: str, flags: Sequence[object]) -> dict[str, Any]:
        folder = self.folder / engine
        cache, index = folder / f"{part}.json", folder / "index"
        flags = [str(flag) for flag in flags]
        if cache.is_file() and (cached := json.loads(cache.read_text()))["flags"] == flags:
            return cached["measured"]
        print(f"{self.data.name}: {PROGRESS[part]} {engine} …", file=sys.stderr, flush=True)
        if part == "build":
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        else:
            load_into_page_cache(index)
        python = self.peers_python if engine in PEERS else sys.executable
        output = folder / "measured.json"
        run_logged(
            [
                python,
                "-m",
                "search_engines.measure",
                part,
                engine,
                self.data,
                index,
                output,
                *flags,
            ],
            folder / "log.txt",
            python_path=[BENCHMARKS, BENCHMARKS.parent],
            timeout=self.limit,
        )
        measured = json.loads(output.read_text())
        with atomic_path(cache) as temporary:
            temporary.write_text(json.dumps({"flags": flags, "measured": measured}, indent=1))
        output.unlink()
        return measured


def load_into_page_cache(path: Path) -> None:
    """Read a file or all files of a folder, so that the system caches them in memory."""
    for file in (path, *path.rglob("*")):
        if file.is_file():
            with file.open("rb") as content:
                while content.read(2**24):
                    pass


def locate_embeddings(arguments: argparse.Namespace) -> Path:
    """Return the file of the real embeddings, and embed the catalogue first if necessary.

    The embeddings of a catalogue are cached in the work folder under the hash of its JSON file.
    """
    if arguments.embeddings is not None:
        return arguments.embeddings
    labeled_data = arguments.labeled_data
    path = arguments.work_dir / f"embeddings-{labeled_data.stem}-{_hash_file(labeled_data)}.npy"
    if not path.is_file():
        from siamese.embedding.embedder import Embedder

        catalogue = Catalogue.read(labeled_data, arguments.image_dir)
        with model_context(load_keras=True):
            vectors = embed_catalogue(Embedder.pretrained(), catalogue).vectors
        with atomic_path(path) as temporary:
            np.save(temporary, vectors)
    return path


def load_embeddings(path: Path, dimensions: int) -> np.ndarray:
    """Load real embeddings and reduce their dimensions.

    Parameters
    ----------
    path : Path
        File in NumPy's ``.npy`` format.
    dimensions : int
        Number of dimensions to reduce the embeddings to.

    Returns
    -------
    float32 array of shape (n, dimensions)

    Raises
    ------
    InputError
        If the file has no embeddings, too few of them, or too few dimensions.
    """
    try:
        embeddings = np.load(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not an array of embeddings ({error})") from None
    fewest = NEIGHBOURHOOD + OUTER_NEIGHBOURS + 1
    if embeddings.ndim != 2 or len(embeddings) < fewest:
        raise InputError(f"{path}: shape {embeddings.shape}; give at least {fewest} embeddings")
    if embeddings.shape[1] < dimensions:
        raise InputError(
            f"{path}: embeddings of {embeddings.shape[1]} dimensions; give --dimensions "
            f"{embeddings.shape[1]} or fewer"
        )
    return reduce_dimensions(embeddings, dimensions)


def _hash_file(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=4).hexdigest()


def format_table(results: Mapping[str, dict[str, Any]]) -> str:
    """Format the results of one size as a Markdown table.

    Parameters
    ----------
    results : mapping
        Results of `Benchmark.measure_engine` by engine.
    """
    lines = [
        "| | build s | file MB | resident MB | open ms | p50 ms | p99 ms | queries/s | recall@10 "
        "| 1 %: p50 ms | queries/s | recall@10 | × BallTree | × best peer |",
        "|---|" + "--:|" * 13,
    ]
    tree = results.get("balltree")
    best_peer_ms = min(
        (
            result["ask"]["all"]["p50_ms"]
            for engine, result in results.items()
            if engine in PEERS and result["ask"]["reached"]
        ),
        default=None,
    )
    for engine, result in results.items():
        build, search = result["build"], result["ask"]
        unfiltered, filtered = search["all"], search["seldom"]
        cells = [
            _format_engine(engine, search),
            f"{build['seconds']:,.1f}",
            f"{build['megabytes']:,.0f}",
            f"{search['resident_mb']:,.0f}",
            f"{search['open_ms']:,.0f}",
            *(f"{unfiltered[name]:,.2f}" for name in ("p50_ms", "p99_ms")),
            f"{unfiltered['per_second']:,.0f}",
            f"{unfiltered['recall']:.3f}",
        ]
        if filtered is None:
            cells += ["–"] * 3
        else:
            cells += [
                f"{filtered['p50_ms']:,.2f}",
                f"{filtered['per_second']:,.0f}",
                f"{filtered['recall']:.3f}",
            ]
        tree_rate = None if tree is None else tree["ask"]["all"]["per_second"]
        cells += [
            _format_ratio(unfiltered["per_second"], tree_rate),
            _format_ratio(unfiltered["p50_ms"], best_peer_ms),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_engine(engine: str, search: dict[str, Any]) -> str:
    """Format the name of an engine and how its searches differ from those of other engines."""
    notes = [ENGINES[engine].title]
    if "ef" in search:
        notes.append(f"ef {search['ef']}")
        if not search["reached"]:
            notes.append("below the required recall")
    if search["all"]["asked"] < search["queries"]:
        notes.append(f"{search['all']['asked']} queries")
    return ", ".join(notes)


def _format_ratio(value: float, reference: float | None) -> str:
    if reference is None:
        return "–"
    ratio = value / reference
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def format_shape(name: str, shape: Mapping[str, float]) -> str:
    """Format the result of `describe_shape` as one line."""
    return (
        f"{name}: intrinsic dimension {shape['dimension']:.1f} ({shape['two_nn']:.1f} from two "
        f"neighbours); distance to the nearest {shape['nearest']:.2f} ({shape['nearest_low']:.2f} "
        f"to {shape['nearest_high']:.2f}), to the tenth {shape['tenth']:.2f}"
    )


def format_end_to_end(engine: str, search: Mapping[str, Any]) -> str:
    """Format as one line how long `Searcher.search_vectors` takes."""
    times, layout = search["search_vectors"], search["found"]
    return (
        f"{ENGINES[engine].title}{f' ({layout})' if layout else ''}: `Searcher.search_vectors`, "
        f"from query vector to ranked metadata, takes {times['p50_ms']:.2f} ms, "
        f"{times['added_ms']:.2f} ms more than the index."
    )


def describe_machine() -> dict[str, Any]:
    """Return the number of cores, the processor and the operating system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.processor(),
        "system": platform.system(),
    }


def format_machine(document: Mapping[str, Any]) -> str:
    """Format the machine and the versions of the measured packages as one line."""
    versions: dict[str, str] = {}
    for size_document in document["sizes"].values():
        for result in size_document["engines"].values():
            versions |= result["build"]["versions"]
    machine = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['cores']} cores of {machine['processor']}, {machine['system']}; {packages}."


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--labeled-data", type=Path, help="catalogue to embed with the pretrained model"
    )
    source.add_argument("--embeddings", type=Path, help=".npy file of embeddings, shape (n, d)")
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
        help="recall that the FAISS backend is built for",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20,
        help="longest time of each measurement; slow engines get fewer queries",
    )
    parser.add_argument(
        "--limit", type=float, default=3600, help="seconds after which an engine is stopped"
    )
    parser.add_argument("--work-dir", type=Path, default=Path("search"))
    parser.add_argument("--peers-python", type=Path, help="Python that has usearch and hnswlib")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    arguments = parser.parse_args()
    arguments.engines = [engine for engine in ENGINES if engine in arguments.engines]
    arguments.work_dir = arguments.work_dir.absolute()
    return arguments


def main() -> None:
    """Run the missing measurements and print the tables."""
    arguments = _parse_arguments()
    with report_errors():
        arguments.work_dir.mkdir(parents=True, exist_ok=True)
        with lock_folder(arguments.work_dir):
            failures = compare(arguments)
        if failures:
            raise InputError(failures)


def compare(arguments: argparse.Namespace) -> list[str]:
    """Measure all engines at all sizes, print and write the results, and return the failures."""
    path = locate_embeddings(arguments)
    real = load_embeddings(path, arguments.dimensions)
    distances, _ = find_nearest(real, real, K, own=True)
    document: dict[str, Any] = {
        "machine": describe_machine(),
        "real": describe_shape(distances),
        "sizes": {},
    }
    peers_python = arguments.peers_python
    if peers_python is None and set(PEERS) & set(arguments.engines):
        peers_python = create_environment(arguments.work_dir / "environment", PEER_PACKAGES)
    failures: list[str] = []
    print(format_shape(f"{len(real):,} real embeddings", document["real"]))
    for size in arguments.sizes:
        name = (
            f"{size}x{arguments.dimensions}-{arguments.queries}-{arguments.seed}-{_hash_file(path)}"
        )
        data = arguments.work_dir / "catalogues" / name
        facts = prepare_catalogue(data, real, size, arguments.queries, arguments.seed)
        benchmark = Benchmark(
            data,
            arguments.work_dir / "results" / name,
            arguments.seconds,
            arguments.limit,
            arguments.min_recall,
            peers_python,
        )
        results = measure_engines(benchmark, arguments.engines, failures)
        document["sizes"][size] = {**facts, "engines": results}
        print(f"\n### {size:,} × {arguments.dimensions}\n")
        print(format_shape(f"{facts['items']:,} items", facts["shape"]))
        print(f"\n{format_table(results)}")
        for engine, result in results.items():
            if "search_vectors" in result["ask"]:
                print(f"\n{format_end_to_end(engine, result['ask'])}", flush=True)
    print(f"\n{format_machine(document)}")
    if arguments.json is not None:
        with atomic_path(arguments.json) as temporary:
            temporary.write_text(json.dumps(document, indent=1))
    return failures


def measure_engines(
    benchmark: Benchmark, engines: Sequence[str], failures: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the results of the engines that succeed, and append the errors of the others."""
    results: dict[str, dict[str, Any]] = {}
    for engine in engines:
        recall = results["faiss"]["ask"]["all"]["recall"] if "faiss" in results else 1
        try:
            results[engine] = benchmark.measure_engine(
                engine, DEFAULT_PEER_RECALL if recall == 1 else recall
            )
        except InputError as error:
            failures += [f"{benchmark.data.name}: {engine}: {line}" for line in error.lines]
            print(f"error: {failures[-1]}", file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
