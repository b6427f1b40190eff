"""The form of every answer, for the documentation of the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="One line.")


class Found(BaseModel):
    """One picture of the index."""

    rank: int = Field(description="From 1.")
    distance: float = Field(description="Euclidean, between vectors of length 1: 0 to 2.")
    similarity: float = Field(description="Cosine, 1 - distance² / 2.")
    item_id: str
    filename: str
    labels: list[str]
    image_url: str | None = Field(description="null where no pictures are served.")
    thumbnail_url: str | None


class Search(BaseModel):
    """What was found, best first."""

    query: str
    results: list[Found]
    in_catalogue: bool | None = Field(
        description="Whether the nearest is near enough to be the same thing; null where the "
        "model has no calibration."
    )
    threshold: float | None = Field(description="The distance that decides it.")
    k: int
    offset: int
    index: str = Field(description="Version of the index that answered.")


class Embedding(BaseModel):
    """A picture as a vector."""

    embedding: list[float] = Field(description="Of length 1.")
    fingerprint: str = Field(description="Of the model; vectors of two mean nothing together.")


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
    """A label and how many pictures have it."""

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
    """What a client must know before it asks."""

    pictures: int
    model: Model
    threshold: float | None
    index: str
    images: bool = Field(description="Whether the pictures themselves are served.")
    max_upload_bytes: int
    formats: list[str]
    api_key: bool = Field(description="Whether a key must be given.")


class Health(BaseModel):
    """Whether it is there."""

    status: str


class OlderFound(BaseModel):
    """One picture of the index, as the older server told it."""

    distance: float
    filename: str
    item_id: str
    image_url: str | None


class Classification(BaseModel):
    """A class of ImageNet, by its number, and its probability."""

    name: str
    score: float


class OlderSearch(BaseModel):
    """The older server's answer."""

    results: list[OlderFound]
    classifications: list[Classification]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route: the errors it may answer, beside those that any may."""
    reasons = {
        400: "The body is not a form.",
        401: "No API key, or a wrong one.",
        404: "Not there.",
        408: "The upload took too long.",
        413: "The upload or its picture is too large.",
        415: "A picture of a format that is not taken, or no picture.",
        422: "A field or a picture that cannot be used.",
        503: "Too much to do, or what is needed is away; come again after Retry-After seconds.",
    }
    return {status: {"model": Error, "description": reasons[status]} for status in statuses}
