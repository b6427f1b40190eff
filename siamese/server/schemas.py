"""JSON documents of the API: the routes return these models, and FastAPI documents them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why a request failed."""

    error: str = Field(description="One line.")


class Found(BaseModel):
    """A picture that a search found."""

    rank: int = Field(description="Position in the ranking, from 1.")
    distance: float = Field(description="Euclidean distance of vectors of length 1, from 0 to 2.")
    similarity: float = Field(description="Cosine similarity, 1 - distance² / 2.")
    item_id: str
    filename: str
    labels: list[str]
    image_url: str | None = Field(description="null if the server has no pictures.")
    thumbnail_url: str | None


class Search(BaseModel):
    """Results of a search, best first."""

    query: str
    results: list[Found]
    in_catalogue: bool | None = Field(
        description="Whether the nearest picture is near enough to show the same thing; null if "
        "the model has no calibration."
    )
    threshold: float | None = Field(description="Largest distance for in_catalogue.")
    k: int
    offset: int
    index: str = Field(description="Version of the index that answered.")


class Embedding(BaseModel):
    """Vector of a picture."""

    embedding: list[float] = Field(description="Vector of length 1.")
    fingerprint: str = Field(
        description="Fingerprint of the model; vectors of two models cannot be compared."
    )


class Picture(BaseModel):
    """A picture of an item."""

    row: int
    filename: str
    image_url: str | None
    thumbnail_url: str | None


class Item(BaseModel):
    """An item of the index with its pictures."""

    item_id: str
    labels: list[str]
    pictures: list[Picture]


class Label(BaseModel):
    """A label and the number of pictures that have it."""

    label: str
    pictures: int


class Labels(BaseModel):
    """All labels, the most frequent first."""

    labels: list[Label]


class Model(BaseModel):
    """The model that made the index and embeds the queries."""

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int


class About(BaseModel):
    """What the server serves, and its limits."""

    pictures: int
    model: Model
    threshold: float | None
    index: str
    images: bool = Field(description="Whether the server has the pictures themselves.")
    max_upload_bytes: int
    formats: list[str]
    api_key: bool = Field(description="Whether requests need an API key.")


class Health(BaseModel):
    """State of the server."""

    status: str


class OlderFound(BaseModel):
    """A picture that a search found, as the older search server returned it."""

    distance: float
    filename: str
    item_id: str
    image_url: str | None


class Classification(BaseModel):
    """An ImageNet class, by its number, and its probability."""

    name: str
    score: float


class OlderSearch(BaseModel):
    """Results of a search, as the older search server returned them."""

    results: list[OlderFound]
    classifications: list[Classification]


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route, for its `responses`."""
    reasons = {
        400: "The body is not a form.",
        401: "The API key is missing or wrong.",
        404: "Not found.",
        408: "The upload took too long.",
        413: "The upload or its picture is too large.",
        415: "The upload is not a picture, or its format is not accepted.",
        422: "A field or a picture cannot be used.",
        503: "The server is busy, or a server behind it does not answer; try again after "
        "Retry-After seconds.",
    }
    return {status: {"model": Error, "description": reasons[status]} for status in statuses}
