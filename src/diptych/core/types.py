"""The records that flow between the rooms, and the Embedder protocol.

Pair → Embeddings → Hit → SearchResult. Records are frozen; each stage is a function to the next and nothing
writes upstream. torch is not imported here: whoever sees an Embedder sees numpy.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image

Picture: TypeAlias = Image.Image
"""A decoded picture: upright, mode RGB, uint8. `inputs.image.decode` makes them."""

Scalar: TypeAlias = str | int | float | bool
"""What a metadata value can be."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Cosine → probability that a retrieved picture matches, fitted on a validation split.

    `probability = sigmoid(scale · cosine + bias)`. A hit below `cutoff` does not match; a query none of whose hits
    reaches it has no answer in the collection.
    """

    scale: float
    bias: float
    cutoff: float

    def __post_init__(self):
        if not 0.0 < self.cutoff < 1.0:
            raise ValueError(f"cutoff is a probability between 0 and 1, got {self.cutoff}")

    def probability(self, cosine: float) -> float:
        """The calibrated match probability of one cosine, in [0, 1]."""
        x = self.scale * cosine + self.bias
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


@dataclass(frozen=True, kw_only=True)
class EmbedderSpec:
    """What a vector needs to name where it comes from.

    `fingerprint` is a sha256 over weights, configuration, preprocessing and tokenizer: two embedders with the same
    fingerprint give the same vectors, but for the rounding of the machine. `logit_scale` is already exponentiated.
    `general` is False for models that know a narrow domain only (the bundled one), so that callers can say so.
    """

    name: str
    fingerprint: str
    dim: int
    image_size: int
    languages: tuple[str, ...]
    score_kind: Literal["sigmoid", "softmax"]
    logit_scale: float
    logit_bias: float
    calibration: Calibration | None = None
    general: bool = True

    @property
    def cutoff(self) -> float:
        """The probability from which on a picture matches: the calibration's, else one half."""
        return self._curve.cutoff

    @property
    def cutoff_cosine(self) -> float:
        """The cosine of that probability."""
        curve = self._curve
        return (math.log(curve.cutoff / (1.0 - curve.cutoff)) - curve.bias) / curve.scale

    def probability(self, cosine: float) -> float:
        """Match probability of one cosine: calibrated where a calibration exists, else sigmoid(scale · cos + bias)."""
        return self._curve.probability(cosine)

    @property
    def _curve(self) -> Calibration:
        return self.calibration or Calibration(scale=self.logit_scale, bias=self.logit_bias, cutoff=0.5)


@runtime_checkable
class Embedder(Protocol):
    """Two towers behind two functions. Vectors have unit norm and do not depend on their batch-mates."""

    @property
    def spec(self) -> EmbedderSpec:
        """The record that its vectors carry."""
        ...

    def embed_images(self, pictures: Sequence[Picture]) -> Float[np.ndarray, "n dim"]:
        """Pictures → float32 unit vectors [n, dim]."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Texts → float32 unit vectors [n, dim]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture of a source, not yet decoded, with what is said about it.

    `uri` names it for people and is unique in its source. `data` holds the encoded bytes where the source already
    has them (Parquet); else they are read from `uri`. `stamp` changes when the file may have changed (size and
    modification time), so that an unchanged file need not be read again; None means "always look".
    """

    uri: str
    data: bytes | None = None
    captions: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    stamp: str | None = None


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A record that could not be used: counted and reported, never swallowed, never fatal."""

    id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One found picture. `score` is the cosine (or the fused score when lists were fused); `ranks` its rank, from 1,
    in each list that was fused ("image", "text", "lexical" …); `matches` whether it passes the relevance cut-off."""

    id: str
    uri: str
    caption: str
    score: float
    probability: float
    matches: bool
    ranks: Mapping[str, int]
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The hits of one query, best first, and which model found them. Iterating gives the hits.

    `answered` is False when no hit passes the relevance cut-off: "nothing here matches". The nearest pictures are
    still in `hits`, each with `matches=False`.
    """

    query: str
    model_name: str
    fingerprint: str
    took_ms: float
    total: int
    hits: tuple[Hit, ...]

    @property
    def answered(self) -> bool:
        """Whether at least one hit passes the relevance cut-off."""
        return any(hit.matches for hit in self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)
