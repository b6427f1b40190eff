"""Models of the JSON that routes return, which also appear in the API documentation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Error message of a failed request."""

    error: str = Field(description="One-line message.")


class Found(BaseModel):
    """Picture found by a search."""

    rank: int = Field(description="Position in the ranking, from 1.")
    distance: float = Field(description="Euclidean distance to the query's vector, from 0 to 2.")
    similarity: float = Field(description="Cosine similarity, 1 - distance² / 2.")
    item_id: str
    filename: str
    labels: list[str]
    image_url: str | None = Field(description="null if the server does not send pictures.")
    thumbnail_url: str | None


class Search(BaseModel):
    """Results of a search, best first."""

    query: str
    results: list[Found]
    in_catalogue: bool | None = Field(
        description="Whether the nearest result is near enough to show the same item as the "
        "query; null if there is no threshold."
    )
    threshold: float | None = Field(description="Maximum distance for in_catalogue to be true.")
    k: int
    offset: int
    index: str = Field(description="Version of the index that was searched.")


class Embedding(BaseModel):
    """Vector of a picture."""

    embedding: list[float] = Field(description="Unit-length vector.")
    fingerprint: str = Field(
        description="Fingerprint of the model; compare only vectors with the same one."
    )


class Picture(BaseModel):
    """Picture of an item."""

    row: int
    filename: str
    image_url: str | None
    thumbnail_url: str | None


class Item(BaseModel):
    """Item of the index, with its pictures."""

    item_id: str
    labels: list[str]
    pictures: list[Picture]


class Label(BaseModel):
    """Label, with the number of pictures that have it."""

    label: str
    pictures: int


class Labels(BaseModel):
    """All labels in the index, the most frequent first."""

    labels: list[Label]


class Model(BaseModel):
    """Model that made the index and embeds queries."""

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int


class About(BaseModel):
    """Description of the served index and its model, and limits on uploads."""

    pictures: int
    model: Model
    threshold: float | None
    index: str
    images: bool = Field(description="Whether the server sends the pictures' files.")
    max_upload_bytes: int
    formats: list[str]
    api_key: bool = Field(description="Whether requests need an API key.")


class Health(BaseModel):
    """State of the server."""

    status: str


class OlderFound(BaseModel):
    """Picture found by a search, in the format of the older search server."""

    distance: float
    filename: str
    item_id: str
    image_url: str | None


class Classification(BaseModel):
    """ImageNet class, named by its number, with its probability."""

    name: str
    score: float


class OlderSearch(BaseModel):
    """Results of a search, in the format of the older search server."""

    results: list[OlderFound]
    classifications: list[Classification]


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's error responses, for the `responses` argument of its decorator."""
    reasons = {
        400: "The body is not a valid form.",
        401: "The API key is missing or wrong.",
        404: "Not found.",
        408: "The upload took too long.",
        413: "The upload or a picture in it is too large.",
        415: "The upload is not a picture, or its format is not accepted.",
        422: "A field or picture is invalid.",
        503: "The server is busy, or a server it depends on does not respond; try again after "
        "the number of seconds in the Retry-After header.",
    }
    return {status: {"model": Error, "description": reasons[status]} for status in statuses}
