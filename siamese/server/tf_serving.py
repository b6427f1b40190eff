"""Embedding by TensorFlow Serving, of what `siamese export savedmodel` wrote."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input
from siamese.errors import InputError
from siamese.indexes import Index
from siamese.models.facts import ModelFacts
from siamese.server.errors import ApiError
from siamese.server.logs import log

SIGNATURE = "prediction"
SECONDS = 10.0
"""How long to wait for an answer."""


class TFServing:
    """A model that runs in TensorFlow Serving, used as `siamese.Embedder` is.

    Parameters
    ----------
    address : HOST:PORT for gRPC, http://HOST:PORT for REST
    name : the model's, as the server was told
    index : whose model it has to be. TensorFlow Serving knows of no fingerprint: the sizes of
        picture and vector are compared, no more, and the log says so

    Attributes
    ----------
    facts : what the index records of its model; where it records nothing, what the server says

    Raises
    ------
    InputError
        If it cannot be reached, has no such model, or one of other sizes.
    """

    def __init__(self, address: str, name: str, index: Index) -> None:
        rest = address.startswith(("http://", "https://"))
        try:
            self._client: _Client = (_Rest if rest else _Grpc)(address, name)
            picture_size, embedding_size = self._client.sizes()
            if embedding_size < 1:  # the signature leaves it open
                white = np.ones((1, picture_size, picture_size, 3), np.float32)
                embedding_size = self._client.predict(white).shape[1]
        except _Trouble as trouble:
            raise InputError(f"--tf-serving {address}: {trouble}") from None
        self.facts = index.model or ModelFacts(
            name=name,
            fingerprint="unknown",
            embedding_size=embedding_size,
            picture_size=picture_size,
            path=None,
        )
        for what, of_server, of_index in (
            ("pictures of {} px", picture_size, self.facts.picture_size),
            ("vectors of {} dimensions", embedding_size, index.embedding_size),
        ):
            if of_server != of_index:
                raise InputError(
                    f"--tf-serving {address}: {name} has {what.format(of_server)}, the model of "
                    f"{index.name} {what.format(of_index)}; serve the model that made the index"
                )
        log(
            "the fingerprint of the model cannot be checked over the network; its sizes agree",
            logging.WARNING,
            tf_serving=address,
            model=name,
            fingerprint_of_the_index=self.facts.fingerprint,
        )

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures, as `siamese.embedding.embedder.Embedder.embed_squares` does.

        Parameters
        ----------
        squares : ndarray of uint8, shape (n, s, s, 3)

        Returns
        -------
        ndarray of float32, shape (n, d)
            Vectors of length 1.

        Raises
        ------
        Refusal
            503 while the server does not answer, or not as it should.
        """
        try:
            vectors = self._client.predict(to_network_input(squares))
        except _Trouble as trouble:
            raise ApiError(503, f"the model's server: {trouble}") from None
        if vectors.shape != (len(squares), self.facts.embedding_size):
            raise ApiError(503, f"the model's server: vectors of shape {vectors.shape}")
        return vectors


class _Trouble(Exception):  # noqa: N818
    """Why TensorFlow Serving gave no answer, in one line."""


class _Client(Protocol):
    """One way to talk to it."""

    def __init__(self, address: str, name: str) -> None: ...

    def sizes(self) -> tuple[int, int]:
        """Pixels of a picture's side, dimensions of a vector (-1 where they are left open)."""
        ...

    def predict(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """From float32 (n, s, s, 3) in [-1, 1] to float32 (n, d)."""
        ...


class _Grpc:
    """The service ``tensorflow.serving.PredictionService``."""

    def __init__(self, address: str, name: str) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError:
            raise _Trouble(
                "gRPC needs pip install 'keras-image-similarity-training[tf-serving]'; REST, "
                "http://HOST:PORT, does without"
            ) from None
        self._name = name
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(address)
        )

    def sizes(self) -> tuple[int, int]:
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._name
        answer = self._call(self._stub.GetModelMetadata, request)
        signatures = messages.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        if SIGNATURE not in signatures.signature_def:
            raise _Trouble(f"{self._name} has no signature {SIGNATURE!r}")
        signature = signatures.signature_def[SIGNATURE]
        side = signature.inputs["input"].tensor_shape.dim
        size = signature.outputs["embedding"].tensor_shape.dim
        return _sizes([dim.size for dim in side], [dim.size for dim in size])

    def predict(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=["embedding"])
        request.model_spec.name = self._name
        request.model_spec.signature_name = SIGNATURE
        request.inputs["input"].CopyFrom(tf.make_tensor_proto(pictures))
        answer = self._call(self._stub.Predict, request)
        vectors: NDArray[np.float32] = tf.make_ndarray(answer.outputs["embedding"])
        return vectors

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=SECONDS)
        except grpc.RpcError as error:
            raise _Trouble(f"{error.code().name}, {error.details()}") from None


class _Rest:
    """The paths below ``/v1/models/NAME``."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._url = f"{address.rstrip('/')}/v1/models/{name}"

    def sizes(self) -> tuple[int, int]:
        try:
            signatures = self._call("/metadata")["metadata"]["signature_def"]["signature_def"]
            signature = signatures[SIGNATURE]
            side = signature["inputs"]["input"]["tensor_shape"]["dim"]
            size = signature["outputs"]["embedding"]["tensor_shape"]["dim"]
        except (KeyError, TypeError):
            raise _Trouble(f"{self._name} has no signature {SIGNATURE!r}") from None
        return _sizes([int(dim["size"]) for dim in side], [int(dim["size"]) for dim in size])

    def predict(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        asked = {"signature_name": SIGNATURE, "inputs": {"input": pictures.tolist()}}
        try:
            outputs = self._call(":predict", asked)["outputs"]
            # Where there is but one output, it comes without its name.
            named = outputs["embedding"] if isinstance(outputs, dict) else outputs
            return np.array(named, np.float32)
        except (KeyError, TypeError, ValueError):
            raise _Trouble("an answer of another form") from None

    def _call(self, path: str, document: Any = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if document is None else json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            try:
                with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    told = error.read(1000).decode(errors="replace")
                raise _Trouble(f"{error.code}, {told}") from None
        except (HTTPException, OSError, ValueError) as error:  # cut off, away, no JSON
            raise _Trouble(str(error)) from None


def _sizes(picture: list[int], vector: list[int]) -> tuple[int, int]:
    if len(picture) != 4 or picture[1] < 1 or len(vector) != 2:
        raise _Trouble(f"{SIGNATURE!r} takes {picture} and answers {vector}: no pictures, vectors")
    return picture[1], vector[1]
