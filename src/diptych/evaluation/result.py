"""What an evaluation says: figures with their uncertainty, differences between models, costs, and where all of it comes
from. Frozen records that become JSON and come back; no computing here.

A share is between 0 and 1 everywhere; only a report multiplies by 100. `low` and `high` are a 95% interval, NaN where
there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SCHEMA = 1
"""Raised when a result of an older version cannot be read as it is."""

Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of one model. `slice` names the part of the data that it is of, "language=de"; "" is all of it.
    `count` is how many samples it is made of, `chance` what guessing would reach, where that is known."""

    model: str
    task: str
    name: str
    slice: str = ""
    value: float
    low: float
    high: float
    count: int
    better: Better = "higher"
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`model` less `other` on the same samples. `p` is of the paired test, `p_holm` corrected for all differences that
    were tested together. `needed` is how many samples would tell a difference as large as this one with a probability
    of 80%, None where there is no difference at all. `verdict` is about `model`, at 5% after correction."""

    model: str
    other: str
    task: str
    name: str
    slice: str = ""
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    count: int
    needed: int | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast one tower is at one batch size: examples per second by the median batch, and seconds a batch."""

    what: Literal["images", "texts"]
    batch: int
    per_second: float
    p50_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs on the machine that measured it. Memory in bytes; `gflops` of one picture and of one text,
    None where nothing counts them."""

    model: str
    load_s: float
    peak_memory: int
    weights_bytes: int
    vector_bytes: int
    image_gflops: float | None
    text_gflops: float | None
    rates: tuple[Rate, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Who was measured."""

    name: str
    fingerprint: str
    dim: int
    image_size: int
    languages: tuple[str, ...]
    score_kind: str
    precision: str
    runtime: str
    general: bool


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was measured on. `counts` are pictures, captions, classes …; `skipped` lists what could not be used, with
    the reason. `languages` are the captions'."""

    name: str
    sha256: str
    revision: str
    counts: Mapping[str, int]
    languages: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How it came about. `seconds` is by phase, `versions` by package; `left_out` says which tasks could not be run,
    and why."""

    created: str
    seed: int
    suite: str
    versions: Mapping[str, str]
    hardware: str
    seconds: Mapping[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Found:
    """One picture that a model found for a query."""

    id: str
    score: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What each model found first for one query. `rank` is that of the first right picture, by model."""

    query: str
    language: str
    expected: tuple[str, ...]
    found: Mapping[str, tuple[Found, ...]]
    rank: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How many pictures of the class `true` were taken for `predicted`, and some of them."""

    true: str
    predicted: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Of one model: every cell that is not empty."""

    model: str
    classes: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Of a calibration curve: the mean probability that was said, the share that was right, and how many."""

    said: float
    right: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The calibration curve of one model in one task."""

    model: str
    task: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class Template:
    """What one prompt gives a model: `figure` of the zero-shot task with that prompt alone."""

    model: str
    template: str
    figure: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Described:
    """One picture, what people said of it, and what each model that can said, with its CIDEr there."""

    id: str
    references: tuple[str, ...]
    said: Mapping[str, str]
    cider: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Views:
    """What a reader looks at beside the numbers. `thumbnails`: data URIs of the pictures that any view names, by id."""

    grids: tuple[Grid, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    curves: tuple[Curve, ...] = ()
    templates: tuple[Template, ...] = ()
    captions: tuple[Described, ...] = ()
    thumbnails: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Point:
    """A figure in one run of a job. `created` is when the run was made, ISO 8601, UTC."""

    created: str
    model: str
    task: str
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class History:
    """What has changed since the run before. `before` is when that was made, "" for the first. In `differences` the
    same model is `model` now and `other` then, on the samples of both runs. `trend` has the main figures of the runs so
    far, this one last."""

    before: str
    differences: tuple[Difference, ...]
    trend: tuple[Point, ...]

    @property
    def worse(self) -> bool:
        """Whether any figure has become worse."""
        return any(difference.verdict == "worse" for difference in self.differences)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All of it. `headline` is the (task, name) by which models are ranked; `sentences` say the verdict. `history` is
    that of a job that runs again and again."""

    schema: int = SCHEMA
    provenance: Provenance
    data: Data
    models: tuple[Model, ...]
    headline: tuple[str, str]
    sentences: tuple[str, ...]
    figures: tuple[Figure, ...]
    differences: tuple[Difference, ...]
    costs: tuple[Cost, ...]
    views: Views
    history: History | None = None
