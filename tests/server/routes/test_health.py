"""Health and metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.server.conftest import COLOURS, upload


def samples(client) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_server_is_ready_until_it_is_stopping(client):
    for path in ("/health", "/ready"):
        assert client.get(path).json() == {"status": "ok"}
    client.app.state.service.ready = False
    assert client.get("/health").status_code == 200
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_the_server_is_not_ready_without_its_model_thread(client):
    client.app.state.service.batcher.close()
    assert client.get("/ready").status_code == 503


def test_metrics_count_requests_and_their_steps(client):
    before = samples(client)
    assert before["siamese_index_pictures[]"] == len(COLOURS)
    assert before["siamese_requests_in_flight[]"] == 0
    for _ in range(3):
        client.post("/search", **upload())
    client.post("/search", **upload(b"words"))
    client.get("/nothing/of/the/kind")
    after = samples(client)
    ok, unknown = (
        f"siamese_requests_total[('route', '{route}'), ('status', '{status}')]"
        for route, status in (("/search", 200), ("other", 404))
    )
    assert after[ok] == 3
    assert after[unknown] == 1  # not labelled with the path, because there are any number of paths
    assert after["siamese_embed_seconds_count[]"] == 3
    assert after["siamese_decode_seconds_count[]"] == 3
    assert after["siamese_search_seconds_count[]"] == 3
    assert after["siamese_request_seconds_count[('route', '/search')]"] == 4
    assert after["process_resident_memory_bytes[]"] > 0
