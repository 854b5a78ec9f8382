"""What goes in and out, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from django.conf import settings
from ninja import Schema
from pydantic import ConfigDict, Field, StrictBool, model_validator

Metric = Literal["l2", "chi2", "cosine", "l1", "linf"]
Number = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Label = Annotated[int, Field(ge=-1, le=2**31 - 1, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Part = Annotated[float, Field(gt=0, le=1, strict=True)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{32}$")]


class Strict(Schema):
    """A body in which nothing is unknown."""

    model_config = ConfigDict(extra="forbid")


class Fault(Schema):
    """Why a request was refused."""

    code: str
    message: str


class Refusal(Schema):
    """Every refusal: a code for programs, a message with the remedy for people."""

    error: Fault


class ImageOut(Schema):
    """An image of the library; width and height are known once it was looked at."""

    id: int
    name: str
    label: int | None
    label_name: str
    width: int | None
    height: int | None
    thumbnail: str
    url: str
    in_library: bool


class Page(Schema):
    """Part of the gallery."""

    total: int
    page: int
    size: int
    items: list[ImageOut]


class LabelOut(Schema):
    """A class; -1 holds the images whose class is unknown."""

    label: int
    name: str
    count: int


class Labels(Schema):
    """Classes that have images."""

    items: list[LabelOut]


class UploadLimits(Schema):
    """What a picture may be."""

    max_bytes: int
    max_pixels: int


class Stats(Schema):
    """The library, and the defaults of a search."""

    images: int
    classes: int
    bits: int
    feature_dim: int
    feature_dtype: str
    metric: str
    metrics: list[str]
    radius: int | None
    candidates: int | None
    top: int
    max_top: int
    network: str
    generation: int
    uploads: UploadLimits
    writable: bool
    reads_need_token: bool
    fetches_urls: bool


class Crop(Strict):
    """Part of a picture, as shares of its width and height."""

    x: Share
    y: Share
    width: Part
    height: Part


class Ways(Strict):
    """How to search."""

    top: Annotated[int, Field(ge=1, le=settings.MAX_TOP, strict=True)] = min(100, settings.MAX_TOP)
    metric: Metric = "l2"
    radius: Annotated[int, Field(ge=0, le=1024, strict=True)] | None = None
    candidates: Annotated[int, Field(ge=1, le=10**7, strict=True)] | None = 1000
    max_distance: Annotated[float, Field(ge=0, le=1e9, strict=True)] | None = None
    labels: list[Label] = Field([], max_length=1000)
    exact: StrictBool = False
    compare: StrictBool = False
    fold: StrictBool = True
    liked: list[Number] = Field([], max_length=100)
    disliked: list[Number] = Field([], max_length=100)


class WaysAndCrop(Ways):
    """How to search with a picture that comes along."""

    crop: Crop | None = None


class Search(WaysAndCrop):
    """A query: exactly one of id, upload and url. A crop is for the latter two."""

    id: Number | None = None
    upload: Token | None = None
    url: Annotated[str, Field(min_length=8, max_length=2000)] | None = None

    @model_validator(mode="after")
    def _one_query(self) -> Search:
        given = [self.id is not None, self.upload is not None, self.url is not None]
        if sum(given) != 1:
            raise ValueError("give exactly one of id, upload and url")
        if self.crop and self.id is not None:
            raise ValueError("an image of the library is searched whole - upload it to crop it")
        return self


class SearchAndHit(Search):
    """The query as it was searched, and one of its hits."""

    hit: Number


class QueryOut(Schema):
    """What was searched with, and its code."""

    kind: Literal["id", "upload", "url"]
    id: int | None = None
    upload: str | None = None
    url: str | None = None
    name: str
    thumbnail: str
    code: str


class Hit(ImageOut):
    """An image found. `coarse_rank` is 1 + the images whose code is nearer."""

    rank: int
    hamming: int
    distance: float
    coarse_rank: int
    near_copies: int
    code: str


class Certificate(Schema):
    """How far the coarse step went; exact: no other image belongs among the hits."""

    radius: int
    buckets: int
    candidates: int
    left_out: int
    exact: bool
    ways: list[str]


class Answer(Schema):
    """What was found."""

    query: QueryOut
    hits: list[Hit]
    certificate: Certificate
    timings_ms: dict[str, float]
    exact_ms: float | None = None
    overlap_with_exact: float | None = None
    warnings: list[str]
    refined: bool


class Copies(Schema):
    """Near-copies that were folded into a hit, nearest first; ranks are those among them."""

    hits: list[Hit]


class Distances(Schema):
    """Between the features, under each metric."""

    l2: float
    cosine: float
    chi2: float
    l1: float
    linf: float


class Why(Schema):
    """Why an image was found; rank is null if it is not among the hits."""

    query_code: str
    hit_code: str
    hamming: int
    distances: Distances
    coarse_rank: int
    rank: int | None
    bits_weight: list[float] | None = None


class UploadOut(Schema):
    """A picture that is kept for an hour."""

    upload: str
    thumbnail: str
    width: int
    height: int
    sha256: str
    expires_in: int


class FeedbackQuery(Strict):
    """What was searched with: exactly one of id and upload."""

    id: Number | None = None
    upload: Token | None = None

    @model_validator(mode="after")
    def _one_query(self) -> FeedbackQuery:
        if (self.id is None) == (self.upload is None):
            raise ValueError("give exactly one of id and upload")
        return self


class FeedbackIn(Strict):
    """A thumb up (1), a thumb down (-1), or neither any more (0)."""

    query: FeedbackQuery
    hit: Number
    verdict: Literal[-1, 0, 1]


class Verdict(Schema):
    """One thumb."""

    query: str
    query_name: str
    hit: int
    hit_name: str
    verdict: int
    given: str


class Verdicts(Schema):
    """All thumbs."""

    items: list[Verdict]


class TokenIn(Strict):
    """A token that opens reading."""

    token: Annotated[str, Field(min_length=1, max_length=500)]


class Document(Schema):
    """A record as the thesis has it, less the feature, and where its picture is."""

    id: str = Field(alias="_id")
    image_name: str
    hashcode: str
    isInDatabase: bool  # noqa: N815
    intID: int | None  # noqa: N815
    url: str


class DocumentHit(Document):
    """A record found, nearest by chi-square first."""

    rank: int
    hamming: int
    distance: float


class ThesisAnswer(Schema):
    """The query's record and the hundred nearest."""

    query: Document
    results: list[DocumentHit]
