"""Embedder that calls TensorFlow Serving, for models from `siamese export savedmodel`."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input
from siamese.errors import InputError
from siamese.indexes import Index
from siamese.models.facts import ModelFacts
from siamese.server.errors import ApiError
from siamese.server.logs import log

SIGNATURE = "prediction"
TIMEOUT_SECONDS = 10.0
"""Timeout of a request to TensorFlow Serving."""


class TFServing:
    """Substitute for `siamese.Embedder` whose model runs in TensorFlow Serving.

    `address` is ``HOST:PORT`` for gRPC or ``http://HOST:PORT`` for REST. TensorFlow Serving does
    not report a model fingerprint, so only the sizes of pictures and vectors are compared with the
    index, and a warning is logged.
    """

    def __init__(self, address: str, name: str, index: Index) -> None:
        is_rest = address.startswith(("http://", "https://"))
        try:
            self._client = _Rest(address, name) if is_rest else _Grpc(address, name)
            picture_size, embedding_size = self._client.sizes()
            if embedding_size < 1:  # the signature does not specify it
                white = np.ones((1, picture_size, picture_size, 3), np.float32)
                embedding_size = self._client.predict(white).shape[1]
        except _ServingError as error:
            raise InputError(f"--tf-serving {address}: {error}") from None
        self.facts = index.model or ModelFacts(
            name=name,
            fingerprint="unknown",
            embedding_size=embedding_size,
            picture_size=picture_size,
            path=None,
        )
        for size, served, indexed in (
            ("pictures of {} px", picture_size, self.facts.picture_size),
            ("vectors of {} dimensions", embedding_size, index.embedding_size),
        ):
            if served != indexed:
                raise InputError(
                    f"--tf-serving {address}: {name} has {size.format(served)}, the model of "
                    f"{index.name} {size.format(indexed)}; serve the model that made the index"
                )
        log(
            "cannot check the fingerprint of the model over the network; its sizes agree",
            logging.WARNING,
            tf_serving=address,
            model=name,
            fingerprint_of_the_index=self.facts.fingerprint,
        )

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures; see `siamese.embedding.embedder.Embedder.embed_squares`."""
        try:
            vectors = self._client.predict(to_network_input(squares))
        except _ServingError as error:
            raise ApiError(503, f"TensorFlow Serving: {error}") from None
        if vectors.shape != (len(squares), self.facts.embedding_size):
            raise ApiError(503, f"TensorFlow Serving: returned vectors of shape {vectors.shape}")
        return vectors


class _ServingError(Exception):
    """Failure to use TensorFlow Serving; callers get an `InputError` or `ApiError` instead."""


class _Grpc:
    """Client of the gRPC service ``tensorflow.serving.PredictionService``."""

    def __init__(self, address: str, name: str) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError:
            raise _ServingError(
                "gRPC needs pip install 'keras-image-similarity-training[tf-serving]'; REST, "
                "http://HOST:PORT, works without"
            ) from None
        self._name = name
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(address)
        )

    def sizes(self) -> tuple[int, int]:
        """Return the picture's side in pixels and the vector's dimensions (-1 if unspecified)."""
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._name
        response = self._call(self._stub.GetModelMetadata, request)
        signatures = messages.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        if SIGNATURE not in signatures.signature_def:
            raise _ServingError(f"{self._name} has no signature {SIGNATURE!r}")
        signature = signatures.signature_def[SIGNATURE]
        picture = signature.inputs["input"].tensor_shape.dim
        vector = signature.outputs["embedding"].tensor_shape.dim
        return _sizes([dim.size for dim in picture], [dim.size for dim in vector])

    def predict(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed float32 pictures (n, s, s, 3) in [-1, 1] as float32 vectors (n, d)."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=["embedding"])
        request.model_spec.name = self._name
        request.model_spec.signature_name = SIGNATURE
        request.inputs["input"].CopyFrom(tf.make_tensor_proto(pictures))
        response = self._call(self._stub.Predict, request)
        vectors: NDArray[np.float32] = tf.make_ndarray(response.outputs["embedding"])
        return vectors

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise _ServingError(f"{error.code().name}, {error.details()}") from None


class _Rest:
    """Client of the REST API at ``/v1/models/NAME``, with the same interface as `_Grpc`."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._url = f"{address.rstrip('/')}/v1/models/{name}"

    def sizes(self) -> tuple[int, int]:
        try:
            signatures = self._call("/metadata")["metadata"]["signature_def"]["signature_def"]
            signature = signatures[SIGNATURE]
            picture = signature["inputs"]["input"]["tensor_shape"]["dim"]
            vector = signature["outputs"]["embedding"]["tensor_shape"]["dim"]
        except (KeyError, TypeError):
            raise _ServingError(f"{self._name} has no signature {SIGNATURE!r}") from None
        return _sizes([int(dim["size"]) for dim in picture], [int(dim["size"]) for dim in vector])

    def predict(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        document = {"signature_name": SIGNATURE, "inputs": {"input": pictures.tolist()}}
        try:
            outputs = self._call(":predict", document)["outputs"]
            # If there is only one output, TensorFlow Serving omits its name.
            vectors = outputs["embedding"] if isinstance(outputs, dict) else outputs
            return np.array(vectors, np.float32)
        except (KeyError, TypeError, ValueError):
            raise _ServingError("unexpected response") from None

    def _call(self, path: str, document: Any = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if document is None else json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                with error:
                    details = error.read(1000).decode(errors="replace")
                raise _ServingError(f"{error.code}, {details}") from None
        # No response, an incomplete one, or one that is not JSON.
        except (HTTPException, OSError, ValueError) as error:
            raise _ServingError(str(error)) from None


def _sizes(picture: list[int], vector: list[int]) -> tuple[int, int]:
    if len(picture) != 4 or picture[1] < 1 or len(vector) != 2:
        raise _ServingError(
            f"{SIGNATURE!r} has inputs of shape {picture} and outputs of shape {vector}; expected "
            "pictures and vectors"
        )
    return picture[1], vector[1]
