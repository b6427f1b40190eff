"""What Prometheus may ask for at /metrics."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"siamese_{name}", help_, labels, registry=self.registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(f"siamese_{name}", help_, labels, registry=self.registry)

        def histogram(
            name: str, help_: str, *labels: str, buckets: tuple[float, ...] = SECONDS
        ) -> Histogram:
            return Histogram(
                f"siamese_{name}", help_, labels, registry=self.registry, buckets=buckets
            )

        self.requests = counter("requests", "Answered, by route and status.", "route", "status")
        self.request_seconds = histogram("request_seconds", "From head to last byte.", "route")
        self.refused = counter("refused", "Turned away before any work, by reason.", "reason")
        self.in_flight = gauge("requests_in_flight", "Being worked on.")
        self.decode_seconds = histogram("decode_seconds", "From upload to square picture.")
        self.queue_seconds = histogram("queue_seconds", "A picture's wait for the model.")
        self.embed_seconds = histogram("embed_seconds", "The model, a batch.")
        self.batch_size = histogram("batch_size", "Pictures a batch.", buckets=(1, 4, 16))
        self.search_seconds = histogram("search_seconds", "The index, a query.")
        self.pictures = gauge("index_pictures", "In the index that is served.")
        self.loaded = gauge("index_loaded_timestamp_seconds", "When that index was opened.")
        self.reloads = counter("index_reloads", "By outcome: done, failed.", "outcome")
