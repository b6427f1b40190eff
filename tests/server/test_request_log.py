"""What the log and the client see of a request."""

from __future__ import annotations

from tests.server.conftest import Colours, encoded, error_of, upload


def test_an_unexpected_error_is_answered_without_its_traceback(serving, caplog):
    class Broken(Colours):
        def embed_squares(self, squares):
            if len(self.batches) >= 3:  # after the warm-up
                raise RuntimeError("secret of the inside")
            return super().embed_squares(squares)

    client = serving(embedder=Broken())
    answer = client.post("/search", **upload(), headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 500
    assert error_of(answer) == "internal error; see the log for abc-1"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.fields["request_id"] == "abc-1"
    assert client.get("/health").status_code == 200


def test_logs_contain_requests_but_not_the_names_of_pictures(client, caplog):
    caplog.set_level("INFO", "siamese.server")
    content = encoded((1, 2, 3))
    client.post(
        "/search", **upload(content, "my-secret-holiday.png"), headers={"X-Request-ID": "x" * 65}
    )
    (record,) = caplog.records
    assert record.fields["path"] == "/search"
    assert record.fields["status"] == 200
    assert len(record.fields["request_id"]) == 32  # the given id is too long
    assert "holiday" not in str(record.__dict__)
