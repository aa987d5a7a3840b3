"""The JSON that goes in and out, as pydantic models: they validate, and they are the documentation at /docs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from diptych.core.errors import CollectionError
from diptych.core.types import SearchResult
from diptych.index.progress import JobProgress
from diptych.service.shelf import Slot, State

Scalar = str | int | float | bool
Text = Annotated[str, Field(max_length=1000)]

_FINGERPRINT = "9f2c4b7d10e86a35" * 4
_ID = "3b1e0c5a97d24f86" * 4


class SearchParameters(BaseModel):
    """What to look for, in the query string. Asked nothing at all, a search lists the pictures."""

    model_config = ConfigDict(extra="forbid")

    collection: Annotated[Text | None, Field(
        description="A collection's name; the first one if left out.", examples=["pictograms"])] = None
    q: Annotated[Text, Field(
        description="Text in any language the model knows. Terms can be weighted and combined: `2:boat + sunset - "
                    "people`.", examples=["red fruit"])] = ""
    exclude: Annotated[list[Text], Field(
        alias="not", max_length=20, description="Texts that must not be shown; may be repeated.",
        examples=[["people"]])] = []
    filter: Annotated[list[Text], Field(
        max_length=50, description="`column:value`; may be repeated. Values of one column are alternatives, different "
                                   "columns must all hold.", examples=[["vendor:noto"]])] = []
    where: Annotated[str | None, Field(
        max_length=2000, description="SQL over the collection's columns.", examples=["width > 1000"])] = None
    like: Annotated[Text | None, Field(
        description="A picture's id: find more like this.", examples=[_ID])] = None
    k: Annotated[int, Field(ge=1, le=200, description="How many hits.", examples=[24])] = 24
    offset: Annotated[int, Field(ge=0, le=1_000_000, description="How many hits to leave out first.")] = 0
    hybrid: Annotated[bool, Field(description="Whether the words of the captions count as well.")] = True


class Model(BaseModel):
    """The model that answered."""

    name: Annotated[str, Field(examples=["diptych-tiny"])]
    fingerprint: Annotated[str, Field(description="sha256 over weights, configuration, preprocessing and tokenizer.",
                                      examples=[_FINGERPRINT])]


class FoundPicture(BaseModel):
    """One hit. Its thumbnail is at `/api/collections/NAME/pictures/ID/thumbnail`."""

    id: Annotated[str, Field(examples=[_ID])]
    uri: Annotated[str, Field(examples=["pictograms://noto/1F34E"])]
    caption: Annotated[str, Field(examples=["red apple"])]
    score: Annotated[float, Field(description="Cosine with the text, else with the picture.", examples=[0.412])]
    probability: Annotated[float, Field(description="Calibrated probability that the picture matches, 0 to 1.",
                                        examples=[0.87])]
    matches: Annotated[bool, Field(description="Whether it passes the relevance cut-off.")]
    ranks: Annotated[dict[str, int], Field(description="Its rank, from 1, in each list that was fused.",
                                           examples=[{"text": 1, "lexical": 3}])]
    metadata: Annotated[dict[str, Scalar], Field(examples=[{"vendor": "noto", "width": 96, "height": 96}])]


class SearchAnswer(BaseModel):
    """The hits of one search, best first."""

    query: str
    model: Model
    took_ms: Annotated[float, Field(examples=[4.2])]
    answered: Annotated[bool, Field(description="False: nothing here matches; the hits are the nearest pictures.")]
    total: Annotated[int, Field(description="How many pictures were ranked: those that pass the filters.",
                                examples=[21709])]
    hits: list[FoundPicture]

    @classmethod
    def of(cls, result: SearchResult) -> "SearchAnswer":
        """The answer that says what this result does."""
        hits = [FoundPicture(id=hit.id, uri=hit.uri, caption=hit.caption, score=hit.score, probability=hit.probability,
                             matches=hit.matches, ranks=dict(hit.ranks), metadata=dict(hit.metadata)) for hit in result]
        return cls(query=result.query, model=Model(name=result.model_name, fingerprint=result.fingerprint),
                   took_ms=round(result.took_ms, 3), answered=result.answered, total=result.total, hits=hits)


class CollectionState(BaseModel):
    """A collection and its model; what is not known before it is loaded is null."""

    name: Annotated[str, Field(examples=["pictograms"])]
    state: State
    problem: Annotated[str | None, Field(description="Why it failed, in a sentence.")] = None
    notice: Annotated[str | None, Field(description="What to know about the model, in a sentence.")] = None
    rows: Annotated[int | None, Field(examples=[21709])] = None
    model: Model | None = None
    languages: Annotated[list[str], Field(description="What the model was trained on; empty if not known.",
                                          examples=[["en", "es", "ja"]])] = []

    @classmethod
    def of(cls, slot: Slot) -> "CollectionState":
        """The state of a slot, with the rows it has now; failed if the collection has been removed meanwhile."""
        if slot.searcher is None:
            return cls(name=slot.name, state=slot.state, problem=slot.problem)
        try:
            rows = slot.searcher.collection.count()
        except CollectionError as error:
            return cls(name=slot.name, state="failed", problem=str(error))
        spec = slot.searcher.embedder.spec
        return cls(name=slot.name, state=slot.state, notice=slot.notice, rows=rows,
                   model=Model(name=spec.name, fingerprint=spec.fingerprint), languages=list(spec.languages))


class FacetValue(BaseModel):
    """A value of a column, with how many pictures have it."""

    value: Annotated[Scalar, Field(examples=["noto"])]
    count: Annotated[int, Field(examples=[3689])]


class PictureDetails(BaseModel):
    """Everything that is kept of a picture except its vector."""

    id: Annotated[str, Field(examples=[_ID])]
    uri: str
    captions: list[str]
    width: int
    height: int
    format: Annotated[str, Field(examples=["JPEG"])]
    file_bytes: int
    embedded_by: str
    indexed_at: str
    metadata: dict[str, Scalar]


class Progress(BaseModel):
    """How far the last indexing job is. "none": there was none; "stopped": its process ended before it was done."""

    state: Literal["none", "running", "done", "failed", "stopped"]
    done: int = 0
    total: int | None = None
    skipped: int = 0
    pictures_per_s: float = 0.0
    seconds_left: float | None = None
    message: str = ""

    @classmethod
    def of(cls, job: JobProgress | None) -> "Progress":
        """What people want to know of a job."""
        if job is None:
            return cls(state="none")
        return cls(state=job.state, done=job.done, total=job.total, skipped=job.skipped, message=job.message,
                   pictures_per_s=job.pictures_per_s, seconds_left=job.seconds_left)


class Readiness(BaseModel):
    """Whether every collection can be searched."""

    ready: bool
    collections: dict[str, State]


class Problem(BaseModel):
    """Why a request was refused, and what to do, in a sentence."""

    detail: Annotated[str, Field(examples=["no collection 'trip' here; there are: trips, pictograms"])]
