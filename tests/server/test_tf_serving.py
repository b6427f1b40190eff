"""Embedding with TensorFlow Serving, tested against small servers of its two protocols."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from siamese.data.images import to_network_input
from siamese.errors import InputError
from siamese.indexes import open_index
from siamese.server.errors import ApiError
from siamese.server.tf_serving import TFServing
from tests.server.conftest import COLOURS, FACTS, Colours, encoded, upload

NAME = "embedding_model"


class Model:
    """The model of the servers below: the colours, of pictures scaled to [-1, 1].

    It reports its sizes like a SavedModel; a test can change them.
    """

    def __init__(self) -> None:
        self.picture_size = FACTS.picture_size
        self.embedding_size = FACTS.embedding_size
        self.broken = False
        self.cut_off = False
        self.seen: list[tuple[int, ...]] = []

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        assert pictures.dtype == np.float32
        assert pictures.shape[1:] == (32, 32, 3)
        self.seen.append(pictures.shape)
        return Colours().embed_squares((pictures + 1) * 127.5)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def rest(model: Model) -> Iterator[str]:
    """Return the address of a server of the REST API that TensorFlow Serving documents."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == f"/v1/models/{NAME}/metadata"
            shapes = {
                "inputs": ("input", (-1, model.picture_size, model.picture_size, 3)),
                "outputs": ("embedding", (-1, model.embedding_size)),
            }
            signature = {
                kind: {
                    name: {
                        "dtype": "DT_FLOAT",
                        "tensor_shape": {
                            "dim": [{"size": str(size), "name": ""} for size in shape],
                            "unknown_rank": False,
                        },
                    }
                }
                for kind, (name, shape) in shapes.items()
            }
            signatures = {"signature_def": {"prediction": signature}}
            self._answer(200, {"metadata": {"signature_def": signatures}})

        def do_POST(self) -> None:
            assert self.path == f"/v1/models/{NAME}:predict"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert request["signature_name"] == "prediction"
            if model.broken:
                self._answer(400, {"error": "out of\nmemory"})
                return
            vectors = model.embed(np.array(request["inputs"]["input"], np.float32))
            # Like TensorFlow Serving, return a single output without its name.
            self._answer(200, {"outputs": vectors.tolist()})

        def _answer(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) + model.cut_off))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def grpc_address(model: Model) -> Iterator[str]:
    """Return the address of a server of the package's own service definition."""
    pytest.importorskip("tensorflow_serving", reason="the extra tf-serving is not installed")
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.model_spec.name != NAME or model.broken:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {NAME}")
            assert request.model_spec.signature_name == "prediction"
            vectors = model.embed(tf.make_ndarray(request.inputs["input"]))
            answer = predict_pb2.PredictResponse()
            answer.outputs["embedding"].CopyFrom(tf.make_tensor_proto(vectors))
            return answer

        def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.model_spec.name != NAME:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            assert list(request.metadata_field) == ["signature_def"]
            signatures = get_model_metadata_pb2.SignatureDefMap()
            signature = signatures.signature_def["prediction"]
            side = model.picture_size
            for shape, sizes in (
                (signature.inputs["input"].tensor_shape, (-1, side, side, 3)),
                (signature.outputs["embedding"].tensor_shape, (-1, model.embedding_size)),
            ):
                for size in sizes:
                    shape.dim.add(size=size)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(signatures)
            return answer

    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(params=["rest", "grpc_address"])
def address(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def connect(folder, address) -> Callable[..., TFServing]:
    index = open_index(folder / "search_index.pkl")
    return lambda name=NAME: TFServing(address, name, index)


def test_vectors_are_those_of_the_model(connect, model):
    squares = np.stack([np.full((32, 32, 3), colour, np.uint8) for _, colour in COLOURS.values()])
    vectors = connect().embed_squares(squares)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(Colours().embed_squares(squares), abs=1e-5)
    assert model.seen[-1] == (len(COLOURS), 32, 32, 3)
    expected = model.embed(to_network_input(squares))
    assert vectors == pytest.approx(expected, abs=1e-6)


def test_the_server_searches_with_tensorflow_serving(connect, serving, caplog):
    client = serving(embedder=connect())
    found = client.post("/search", **upload(encoded((230, 30, 30)))).json()
    assert found["results"][0]["item_id"] == "red"
    assert client.get("/about").json()["model"]["name"] == FACTS.name
    assert any("fingerprint" in record.message for record in caplog.records)


def test_searches_get_a_503_while_tensorflow_serving_fails(connect, serving, model):
    client = serving(embedder=connect())
    model.broken = True
    answer = client.post("/search", **upload())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "TensorFlow Serving: " in answer.json()["error"]
    model.broken = False
    assert client.post("/search", **upload()).status_code == 200


@pytest.mark.parametrize("broken", [False, True])
def test_an_incomplete_response_is_an_error(rest, folder, serving, model, broken):
    index = open_index(folder / "search_index.pkl")
    client = serving(embedder=TFServing(rest, NAME, index))
    model.cut_off, model.broken = True, broken
    answer = client.post("/search", **upload())
    assert answer.status_code == 503
    assert "TensorFlow Serving: " in answer.json()["error"]


def test_a_model_of_other_sizes_is_an_error(connect, model):
    model.picture_size = 224
    with pytest.raises(InputError, match=r"pictures of 224 px, the model of .* of 32 px"):
        connect()
    model.picture_size, model.embedding_size = 32, 1280
    with pytest.raises(InputError, match=r"vectors of 1280 dimensions, .* of 4 dimensions"):
        connect()


def test_an_embedding_size_missing_in_the_signature_is_measured(connect, model):
    model.embedding_size = -1
    assert connect().facts.embedding_size == 4
    assert model.seen == [(1, 32, 32, 3)]


def test_a_response_of_another_shape_is_an_error(connect, model, monkeypatch):
    embedder = connect()
    monkeypatch.setattr(model, "embed", lambda pictures: np.zeros((len(pictures), 3), np.float32))
    with pytest.raises(ApiError, match=r"vectors of shape \(1, 3\)"):
        embedder.embed_squares(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9"])
def test_a_missing_server_is_an_error_of_one_line(folder, address):
    if not address.startswith("http"):
        pytest.importorskip("tensorflow_serving", reason="the extra tf-serving is not installed")
    index = open_index(folder / "search_index.pkl")
    with pytest.raises(InputError, match=f"--tf-serving {address}: ") as error:
        TFServing(address, NAME, index)
    assert len(error.value.lines) == 1
