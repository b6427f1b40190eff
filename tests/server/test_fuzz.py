"""Any request gets an answer, never a traceback, and errors of one line."""

from __future__ import annotations

import random

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.conftest import encoded, error_of, upload

UPLOADS = 2_000
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def mutated(rng: random.Random, originals: list[bytes]) -> bytes:
    """Return a picture with bytes changed, removed or added, cut off, or mixed with another."""
    content = bytearray(rng.choice(originals))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content) + 1)
        length = rng.choice([1, 4, 40])
        match rng.randrange(6):
            case 0:
                content[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = rng.randbytes(length)
            case 3:
                del content[place:]
            case 4:
                other = rng.choice(originals)
                start = rng.randrange(len(other))
                content[place : place + length] = other[start : start + length]
            case 5:  # the header, which contains sizes and offsets
                head = rng.randrange(min(40, len(content)) or 1)
                content[head : head + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
    return bytes(content)


@pytest.mark.long
def test_mutated_uploads_are_answered(serving):
    client = serving(pixels=1_000_000)
    rng = random.Random(11)
    size = (40, 30)
    originals = [
        *(encoded((200, 90, 30), size, format) for format in ("JPEG", "PNG", "WEBP", "AVIF")),
        encoded((200, 90, 30), size, "JPEG", progressive=True),
        *(encoded((200, 90, 30), size, format) for format in ("GIF", "TIFF")),
    ]
    seen = set()
    for number in range(UPLOADS):
        answer = client.post("/search", **upload(mutated(rng, originals)), data={"k": 2})
        assert answer.status_code in (200, 413, 415, 422), (number, answer.text)
        if answer.status_code != 200:
            error_of(answer)
        seen.add(answer.status_code)
    assert seen == {200, 413, 415, 422}
    assert client.post("/search", **upload()).status_code == 200


@pytest.mark.long
def test_mutated_forms_are_answered(client):
    rng = random.Random(12)
    request = client.build_request("POST", "/search", **upload(), data={"k": 3, "crop": "0,0,1,1"})
    original = request.read()
    for number in range(300):
        content = mutated(rng, [original])
        kind = {"Content-Type": request.headers["content-type"]}
        answer = client.post("/search", content=content, headers=kind)
        assert answer.status_code < 500, (number, answer.text)
        if answer.status_code != 200:
            error_of(answer)


@pytest.mark.long
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_to_generated_requests_agree_with_the_schema(client, mode):
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    requested = set()

    @settings(
        max_examples=400,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema.as_strategy(mode))
    def request(case):
        answer = case.call()
        requested.add(case.operation.path)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text
        if answer.status_code >= 400:
            assert list(answer.json()) == ["error"]

    request()
    # Paths without inputs have no invalid requests.
    paths = set(client.get("/openapi.json").json()["paths"])
    if mode is GenerationMode.POSITIVE:
        assert requested == paths
    else:
        assert {"/search", "/embed"} <= requested
