"""Prometheus metrics, served at /metrics."""

from __future__ import annotations

from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of duration histograms."""


class Metrics:
    """Metrics of one server, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        counter = partial(Counter, namespace="siamese", registry=self.registry)
        gauge = partial(Gauge, namespace="siamese", registry=self.registry)
        histogram = partial(Histogram, namespace="siamese", registry=self.registry, buckets=SECONDS)

        self.requests = counter("requests", "Answered requests.", ["route", "status"])
        self.request_seconds = histogram(
            "request_seconds",
            "Time from a request's head to the last byte of its answer.",
            ["route"],
        )
        self.refused = counter("refused", "Requests refused before any work.", ["reason"])
        self.in_flight = gauge("requests_in_flight", "Requests being handled.")
        self.decode_seconds = histogram("decode_seconds", "Time to decode an upload.")
        self.queue_seconds = histogram("queue_seconds", "Time a picture waits for the model.")
        self.embed_seconds = histogram("embed_seconds", "Time of the model per batch.")
        self.batch_size = histogram("batch_size", "Pictures per batch.", buckets=(1, 4, 16))
        self.search_seconds = histogram("search_seconds", "Time of the index per query.")
        self.pictures = gauge("index_pictures", "Pictures in the index.")
        self.loaded = gauge("index_loaded_timestamp_seconds", "When the index was opened.")
        self.reloads = counter("index_reloads", "Reloads of the index: done, failed.", ["outcome"])
