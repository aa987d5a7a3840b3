"""A model's vectors of a data set, made once and kept: under the fingerprint, the precision and the data's hash,
so that they cannot go stale. Killed and run again, it goes on with the block it was at.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.core.errors import DiptychError, PictureError
from diptych.core.files import atomic_write, home, sha256_bytes, write_text
from diptych.core.types import Embedder, Picture
from diptych.evaluation.dataset import Dataset, subset
from diptych.evaluation.embedded import Embedded, Looks
from diptych.inputs.image import decode

BLOCK = 256
"""Pictures or texts that are kept together: what a kill can lose."""

_DECODERS = 2


class NotFiniteVectors(DiptychError):
    """A model gave vectors that are no numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Vectors of every picture of a data set, NaN where it could not be decoded; those are in `broken`, by number."""

    vectors: Float[np.ndarray, "pictures dim"]
    broken: dict[int, str]


def embed_dataset(embedder: Embedder, data: Dataset, runtime: str) -> Pictures:
    """The vectors of all pictures, from the cache as far as they are there. `runtime` says by what they are made
    ("fp32 torch"): another precision gives other vectors. NotFiniteVectors when the model gives NaN."""
    folder = _folder(embedder, data, runtime)
    parts: list[np.ndarray] = []
    broken: dict[int, str] = {}
    with ThreadPoolExecutor(_DECODERS) as pool, telemetry.progress(
            f"{embedder.spec.name}: pictures", len(data), "pictures") as bar:
        for start in range(0, len(data), BLOCK):
            numbers = range(start, min(start + BLOCK, len(data)))
            kept, told = folder / f"pictures-{start}.npy", folder / f"pictures-{start}.json"
            if not (kept.exists() and told.exists()):
                vectors, reasons = _block(embedder, list(pool.map(lambda i: _decoded(data, i), numbers)), start)
                _check(vectors[[i not in reasons for i in numbers]], embedder)
                _save(kept, vectors)
                write_text(told, json.dumps(reasons))
            parts.append(np.load(kept))
            broken |= {int(number): reason for number, reason in json.loads(told.read_text(encoding="utf-8")).items()}
            bar.advance(len(numbers))
    return Pictures(vectors=np.concatenate(parts), broken=broken)


def without(data: Dataset, broken: dict[int, str]) -> tuple[Dataset, Int[np.ndarray, " kept"]]:
    """The data set without those pictures, which are listed as skipped, and the numbers of those that stay. ValueError
    when nothing is left."""
    kept = [i for i in range(len(data)) if i not in broken]
    if not kept:
        raise ValueError(f"no picture of {data.name} can be decoded; the first says: {next(iter(broken.values()))}")
    told = tuple((data.ids[i], reason) for i, reason in sorted(broken.items()))
    return replace(subset(data, kept), skipped=(*data.skipped, *told)), np.array(kept, np.int64)


def embedded(
    embedder: Embedder, data: Dataset, images: Float[np.ndarray, "pictures dim"], runtime: str,
    looks: Looks | None = None,
) -> Embedded:
    """What a task is given: these vectors, and texts that are embedded once."""
    folder, known = _folder(embedder, data, runtime), dict[str, np.ndarray]()

    def kept_texts(part: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        kept = folder / f"texts-{sha256_bytes(json.dumps(part).encode())[:24]}.npy"
        if not kept.exists():
            vectors = embedder.embed_texts(part)
            _check(vectors, embedder)
            _save(kept, vectors)
        return np.load(kept)

    def texts(wanted: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        if new := [text for text in dict.fromkeys(wanted) if text not in known]:
            with telemetry.progress(f"{embedder.spec.name}: texts", len(new), "texts") as bar:
                for start in range(0, len(new), BLOCK * 4):
                    part = new[start : start + BLOCK * 4]
                    known.update(zip(part, kept_texts(part), strict=True))
                    bar.advance(len(part))
        return np.stack([known[text] for text in wanted]) if wanted else np.zeros((0, embedder.spec.dim), np.float32)

    return Embedded(spec=embedder.spec, data=data, images=images, texts=texts, pictures=embedder.embed_images,
                    decode=lambda i: decode(data.read(i)), looks=looks or Looks())


def _folder(embedder: Embedder, data: Dataset, runtime: str) -> Path:
    key = sha256_bytes(f"{embedder.spec.fingerprint} {runtime} {data.sha256}".encode())[:24]
    return home() / "evaluations" / f"{embedder.spec.fingerprint[:12]}-{key}"


def _decoded(data: Dataset, number: int) -> Picture | str:
    try:
        return decode(data.read(number))
    except PictureError as error:
        return str(error)


def _block(
    embedder: Embedder, pictures: Sequence[Picture | str], start: int
) -> tuple[Float[np.ndarray, "pictures dim"], dict[int, str]]:
    reasons = {start + at: picture for at, picture in enumerate(pictures) if isinstance(picture, str)}
    whole = [picture for picture in pictures if not isinstance(picture, str)]
    vectors = np.full((len(pictures), embedder.spec.dim), np.nan, np.float32)
    if whole:
        vectors[[start + at not in reasons for at in range(len(pictures))]] = embedder.embed_images(whole)
    return vectors, reasons


def _check(vectors: Float[np.ndarray, "n dim"], embedder: Embedder) -> None:
    if bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise NotFiniteVectors(f"{embedder.spec.name} gave {bad} of {len(vectors)} vectors that are not finite; its "
                               "weights or its precision are at fault: try precision='fp32', or verify the model")


def _save(path: Path, vectors: Float[np.ndarray, "n dim"]) -> None:
    with atomic_write(path) as stream:
        np.save(stream, vectors)
