"""Data sets and models made of vectors: what a task is given, without a picture or a tower."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from coloured import encoded
from diptych.core.types import EmbedderSpec, Picture
from diptych.data import draws
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.embedded import Embedded
from diptych.inputs.image import decode


def dataset(
    labels: Sequence[str], columns: Mapping[str, Sequence[str]] | None = None, captions: Sequence[Caption] = (),
    same: Sequence[int] = (),
) -> Dataset:
    return Dataset(
        name="made up", sha256="0", ids=tuple(f"p{number}" for number in range(len(labels))), read=lambda _: b"",
        labels=tuple(labels), classes=tuple(sorted({*labels} - {""})), captions=tuple(captions),
        columns={name: tuple(values) for name, values in (columns or {}).items()}, same=tuple(same))


def embedded(
    data: Dataset, images: np.ndarray, texts: Mapping[str, np.ndarray] | None = None,
    pictures: Sequence[Picture] | None = None,
) -> Embedded:
    """A text that is not among `texts` gets a vector of its own."""
    dim = images.shape[1]

    def embed(wanted: Sequence[str]) -> np.ndarray:
        own = [draws.generator(0, text).normal(size=dim) for text in wanted]
        return unit(np.array([(texts or {}).get(text, vector) for text, vector in zip(wanted, own, strict=True)]))

    if pictures:
        data = replace(data, read=lambda number: encoded(pictures[number]))
    spec = EmbedderSpec(name="made up", fingerprint="f", dim=dim, image_size=32, languages=("en",),
                        score_kind="sigmoid", logit_scale=10.0, logit_bias=-10.0)
    return Embedded(
        spec=spec, data=data, images=unit(images), texts=embed, pictures=lambda _: unit(images),
        decode=lambda number: decode(data.read(number)) if pictures else Image.new("RGB", (32, 32)))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def knowing(labels: Sequence[str], noise: float = 0.5, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Vectors around one of each class."""
    rng = np.random.default_rng(seed)
    centres = {label: rng.normal(size=dim) for label in sorted(set(labels))}
    return np.array([centres[label] for label in labels]) + noise * rng.normal(size=(len(labels), dim))


def constant(count: int, dim: int = 16) -> np.ndarray:
    return np.tile(np.random.default_rng(1).normal(size=dim), (count, 1))
