"""Measure the throughput of `siamese serve` and compare it with the limits of the machine.

Run it as ``python -m benchmarks.serving --index search_index.pkl --image-dir photos
[--keras-model FILE] [--searches 5000] [--clients 32]``. The queries are pictures of the index.

1. *Limits*, without a server: how many pictures per second are decoded, embedded, and decoded in
   threads while the model embeds batches of 16; and the times of a single picture.
2. *One client*: one search after another.
3. *Load*: `--searches` searches from `--clients` clients at once, each on its own connection. A
   fraction `--broken` of the uploads are not usable pictures; the server must refuse only these.
4. *Overload*: searches start at twice the rate of the load, whether or not earlier ones have ended.

The load generator shares the cores with the server, and its share of the CPU time is printed. The
resident memory of the server is read twice per second; its growth is the mean of the second half of
the load relative to the mean of the first half.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console
from rich.table import Table

QUERIES = 500
"""Largest number of different query pictures."""
BATCH = 16
OVERLOAD_SECONDS = 15


@dataclass(frozen=True)
class Limits:
    """Rates without a server, and the median times of a single picture."""

    decoded_a_second: float
    embedded_a_second: float
    together_a_second: float
    decode_ms: float
    embed_ms: float


@dataclass
class Outcome:
    """Result of one phase.

    Attributes
    ----------
    seconds : float
        Time from the first request to the last response.
    accepted, refused, broken : list of float
        Response times in milliseconds, by status: 200, 503, and 4xx for broken uploads.
    errors : Counter
        Number of unexpected responses and connection errors by kind.
    generator_cpu, server_cpu : float
        CPU seconds.
    memory : list of float
        Resident memory of the server over time, in bytes.
    """

    seconds: float = 0.0
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    generator_cpu: float = 0.0
    server_cpu: float = 0.0
    memory: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Responses other than 503 per second."""
        return (len(self.accepted) + len(self.broken)) / self.seconds

    @property
    def growth(self) -> float:
        """Relative growth of the mean memory from the first half to the second."""
        half = len(self.memory) // 2
        if not half:
            return float("nan")
        return statistics.mean(self.memory[half:]) / statistics.mean(self.memory[:half]) - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        return {
            "seconds": self.seconds,
            "a_second": self.rate,
            "errors": dict(self.errors),
            "accepted": _compute_percentiles(self.accepted),
            "refused": _compute_percentiles(self.refused),
            "broken": _compute_percentiles(self.broken),
            "generator_cpu_share": self.generator_cpu / (self.generator_cpu + self.server_cpu),
            "memory_first_mb": self.memory[0] / 1e6 if self.memory else None,
            "memory_last_mb": self.memory[-1] / 1e6 if self.memory else None,
            "memory_growth": self.growth,
        }


def main() -> None:
    """Measure all phases and print the results."""
    arguments = _parse_arguments()
    contents = _read_queries(arguments.index, arguments.image_dir)
    # A separate process, so that its memory and threads are gone when the server starts.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        limits = pool.apply(measure_limits, (arguments.index, arguments.keras_model, contents))
    with _start_server(arguments) as url:
        alone = asyncio.run(run_clients(url, contents, 1, max(20, arguments.searches // 25), 0))
        load = asyncio.run(
            run_clients(url, contents, arguments.clients, arguments.searches, arguments.broken)
        )
        overload = asyncio.run(
            run_at_rate(url, contents, 2 * load.rate, arguments.overload_seconds)
        )
    document = {
        "cores": os.cpu_count(),
        "limits": asdict(limits),
        "alone": alone.as_dict(),
        "load": load.as_dict(),
        "overload": {**overload.as_dict(), "asked_a_second": 2 * load.rate},
        "share_of_limit": load.rate / limits.together_a_second,
        "alone_p50_against_limit": (
            statistics.median(alone.accepted) / (limits.decode_ms + limits.embed_ms)
        ),
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        _print_results(limits, alone, load, overload, document)


def measure_limits(index: str, keras_model: str | None, contents: list[bytes]) -> Limits:
    """Measure decoding and embedding, separately and together."""
    from siamese.cli.loading import load_index_embedder
    from siamese.indexes import open_index
    from siamese.server.batching import warm_up
    from siamese.server.settings import Limits as ServerLimits
    from siamese.server.uploads import decode_upload
    from siamese.utils.keras_import import import_keras
    from siamese.utils.threads import map_in_threads

    import_keras()
    embedder = load_index_embedder(open_index(index), index, keras_model=keras_model or None)
    warm_up(embedder)
    size, server_limits = embedder.facts.picture_size, ServerLimits()

    def decode(content: bytes) -> Any:
        return decode_upload(content, size, server_limits)

    def measure_rate(work: Any) -> float:
        started = time.perf_counter()
        count = work()
        return count / (time.perf_counter() - started)

    def decode_all() -> int:
        with closing(map_in_threads(decode, contents, ahead=4 * BATCH)) as decoded:
            return sum(1 for _ in decoded)

    def decode_and_embed() -> int:
        count = 0
        with closing(map_in_threads(decode, contents, ahead=4 * BATCH)) as decoded:
            batch = []
            for picture in decoded:
                batch.append(picture)
                if len(batch) == BATCH:
                    embedder.embed_squares(np.stack(batch))
                    count += len(batch)
                    batch = []
        return count

    squares = [decode(content) for content in contents[: 8 * BATCH]]
    batches = [squares[start : start + BATCH] for start in range(0, len(squares), BATCH)]

    def embed_all() -> int:
        for batch in batches:
            embedder.embed_squares(np.stack(batch))
        return len(squares)

    decode_all()  # warm up
    return Limits(
        decoded_a_second=measure_rate(decode_all),
        embedded_a_second=measure_rate(embed_all),
        together_a_second=measure_rate(decode_and_embed),
        decode_ms=_measure_median_ms(decode, contents[:50]),
        embed_ms=_measure_median_ms(
            lambda square: embedder.embed_squares(square[None]), squares[:50]
        ),
    )


async def run_clients(
    url: str, contents: Sequence[bytes], clients: int, searches: int, broken: float
) -> Outcome:
    """Search from several clients at once, one search after another per client."""
    outcome = Outcome()
    requests = iter(_make_requests(contents, searches, broken))

    async def run_client() -> None:
        connection = _Connection(url)
        for request, is_broken in requests:
            await _send(connection, request, is_broken, outcome)
        connection.close()

    async with _measure_phase(url, outcome):
        await asyncio.gather(*(run_client() for _ in range(clients)))
    return outcome


async def run_at_rate(url: str, contents: Sequence[bytes], rate: float, seconds: float) -> Outcome:
    """Start searches at a fixed rate, whether or not earlier ones have ended."""
    outcome = Outcome()
    idle: list[_Connection] = []

    async def search(request: bytes) -> None:
        connection = idle.pop() if idle else _Connection(url)
        await _send(connection, request, False, outcome)
        idle.append(connection)

    async with _measure_phase(url, outcome), asyncio.TaskGroup() as group:
        started = time.perf_counter()
        for number, (request, _) in enumerate(_make_requests(contents, int(rate * seconds), 0)):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            group.create_task(search(request))
    for connection in idle:
        connection.close()
    return outcome


class _Connection:
    """Minimal HTTP client that takes little CPU time."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> int:
        """Send a request, read the response and return its status."""
        if self._streams is None:
            address = self._address
            self._streams = await asyncio.open_connection(address.hostname, address.port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _send(connection: _Connection, request: bytes, is_broken: bool, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        status = await connection.send(request)
    except (OSError, EOFError, asyncio.IncompleteReadError) as error:
        connection.close()
        outcome.errors[type(error).__name__] += 1
        return
    milliseconds = 1000 * (time.perf_counter() - started)
    if status == 503:
        outcome.refused.append(milliseconds)
    elif is_broken and status in (413, 415, 422):
        outcome.broken.append(milliseconds)
    elif not is_broken and status == 200:
        outcome.accepted.append(milliseconds)
    else:
        outcome.errors[f"{status} for a {'broken' if is_broken else 'valid'} upload"] += 1


@contextlib.asynccontextmanager
async def _measure_phase(url: str, outcome: Outcome) -> AsyncIterator[None]:
    async def record_memory() -> None:
        while True:
            figures = await asyncio.to_thread(_read_metrics, url)
            outcome.memory.append(figures["process_resident_memory_bytes"])
            await asyncio.sleep(0.5)

    server_cpu, own_cpu = _read_metrics(url)["process_cpu_seconds_total"], _read_own_cpu()
    recorder = asyncio.create_task(record_memory())
    started = time.perf_counter()
    yield
    outcome.seconds = time.perf_counter() - started
    outcome.generator_cpu = _read_own_cpu() - own_cpu
    recorder.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await recorder
    outcome.server_cpu = _read_metrics(url)["process_cpu_seconds_total"] - server_cpu


def _read_own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _read_metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("process_")]
    return {name: float(value) for name, value in pairs}


def _make_requests(
    contents: Sequence[bytes], count: int, broken: float
) -> Iterator[tuple[bytes, bool]]:
    """Yield HTTP requests and whether their picture is broken."""
    rng = random.Random(0)
    for _ in range(count):
        content = rng.choice(contents)
        is_broken = rng.random() < broken
        yield _make_request(_damage_picture(content, rng) if is_broken else content), is_broken


def _damage_picture(content: bytes, rng: random.Random) -> bytes:
    match rng.randrange(4):
        case 0:
            return content[: len(content) // 2]
        case 1:
            return b"no picture at all"
        case 2:
            return b""
        case _:
            return b"GIF89a" + content


def _make_request(content: bytes) -> bytes:
    boundary = b"boundary-that-no-picture-contains"
    body = (
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="query"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--%b--\r\n"
    ) % (boundary, content, boundary)
    return (
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\n\r\n%b"
    ) % (len(body), boundary, body)


def _read_queries(index: str, image_dir: Path) -> list[bytes]:
    from siamese.indexes import open_index

    filenames = sorted({entry.metadata["filename"] for entry in open_index(index).entries()})
    chosen = random.Random(0).sample(filenames, min(QUERIES, len(filenames)))
    return [(image_dir / filename).read_bytes() for filename in chosen]


@contextlib.contextmanager
def _start_server(arguments: argparse.Namespace) -> Iterator[str]:
    flags = ["--index", arguments.index, "--image-dir", str(arguments.image_dir), "--port", "0"]
    if arguments.keras_model:
        flags += ["--keras-model", arguments.keras_model]
    with subprocess.Popen(
        [sys.executable, "-m", "siamese", "serve", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            url = process.stdout.readline().partition(": ")[0] if process.stdout else ""
            if not url:
                sys.exit(f"siamese serve {' '.join(flags)}: did not start")
            _wait_for(f"{url}/ready")
            yield url
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
            return
        time.sleep(0.1)
    sys.exit(f"{url}: no response")


def _measure_median_ms(work: Any, values: Sequence[Any]) -> float:
    times = []
    for value in values:
        started = time.perf_counter()
        work(value)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _compute_percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    if len(milliseconds) < 2:
        return {"count": len(milliseconds)}
    hundredths = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {
        "count": len(milliseconds),
        "p50": hundredths[49],
        "p99": hundredths[98],
        "max": max(milliseconds),
    }


def _print_results(
    limits: Limits, alone: Outcome, load: Outcome, overload: Outcome, document: dict[str, Any]
) -> None:
    console = Console()
    if not console.is_terminal:  # keep each row on one line in files
        console.width = 200
    console.print(
        f"{document['cores']} cores, without a server: decode {limits.decoded_a_second:.0f}/s, "
        f"embed {limits.embedded_a_second:.0f}/s, both {limits.together_a_second:.0f}/s; one "
        f"picture {limits.decode_ms:.1f} + {limits.embed_ms:.1f} ms"
    )
    header = (
        "",
        "responses",
        "per second",
        "p50 ms",
        "p99 ms",
        "max ms",
        "503",
        "p50 ms",
        "p99 ms",
        "errors",
    )
    table = Table(*header, box=None, pad_edge=False)
    for name, outcome in (("one client", alone), ("load", load), ("overload", overload)):
        accepted, refused = (
            _compute_percentiles(outcome.accepted),
            _compute_percentiles(outcome.refused),
        )
        figures = [accepted.get(key, float("nan")) for key in ("p50", "p99", "max")]
        table.add_row(
            name,
            f"{len(outcome.accepted) + len(outcome.broken):,}",
            f"{outcome.rate:.1f}",
            *(f"{figure:.0f}" for figure in figures),
            f"{len(outcome.refused):,}",
            *(f"{refused.get(key, float('nan')):.0f}" for key in ("p50", "p99")),
            ", ".join(f"{count} {kind}" for kind, count in outcome.errors.items()) or "none",
        )
    console.print(table)
    load_figures = document["load"]
    console.print(
        f"load: {document['share_of_limit']:.0%} of decode + model together; the load generator "
        f"took {load_figures['generator_cpu_share']:.0%} of the CPU time; "
        f"{len(load.broken)} broken uploads refused; memory "
        f"{load_figures['memory_first_mb']:.0f} to {load_figures['memory_last_mb']:.0f} MB, "
        f"second half {load_figures['memory_growth']:+.1%}"
    )
    console.print(
        f"one client: p50 is {document['alone_p50_against_limit']:.2f} times decode + model alone"
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", default="search_index.pkl")
    parser.add_argument("--image-dir", type=Path, required=True)
    parser.add_argument("--keras-model")
    parser.add_argument("--searches", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--broken", type=float, default=0.01, help="fraction of broken uploads")
    parser.add_argument("--overload-seconds", type=float, default=OVERLOAD_SECONDS)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
