"""A model's vectors of pictures and texts, made once and kept: under the model's fingerprint, the precision, and the
hash of the picture or the text itself, so that they cannot go stale, and a changed caption embeds one text. Killed and
run again, it goes on with the block it was at.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

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


def embed_dataset(embedder: Embedder, data: Dataset, runtime: str = "", *, keep: bool = True) -> Pictures:
    """The vectors of all pictures, as far as they are kept from there. `runtime` says by what they are made
    ("fp32 torch"): another precision gives other vectors. Without `keep` nothing is read from disk or left there: a
    model that is still learning has no fingerprint. NotFiniteVectors when the model gives NaN."""
    contents = data.contents or [f"{data.sha256} {name}" for name in data.ids]
    kept, broken = _Kept(embedder, runtime, "pictures", keep), dict[str, str]()
    first = {content: number for number, content in reversed(list(enumerate(contents)))}
    new = [content for content in dict.fromkeys(contents) if content not in kept]
    with ThreadPoolExecutor(_DECODERS) as pool, telemetry.progress(
            f"{embedder.spec.name}: pictures", len(first), "pictures", len(first) - len(new)) as bar:
        for start in range(0, len(new), BLOCK):
            part = new[start : start + BLOCK]
            whole: dict[str, Picture] = {}
            for content, picture in zip(part, pool.map(lambda c: _decoded(data, first[c]), part), strict=True):
                if isinstance(picture, str):
                    broken[content] = picture  # not kept: another time it may be there
                else:
                    whole[content] = picture
            if whole:
                kept.add(list(whole), _checked(embedder.embed_images(list(whole.values())), embedder))
            bar.advance(len(part))
    vectors = np.full((len(contents), embedder.spec.dim), np.nan, np.float32)
    there = [number for number, content in enumerate(contents) if content not in broken]
    vectors[there] = kept.vectors([contents[number] for number in there])
    return Pictures(vectors=vectors, broken={
        number: broken[content] for number, content in enumerate(contents) if content in broken})


def readable(data: Dataset) -> Dataset:
    """The pictures that can be decoded, for a data set that will be looked at many times. Every one is decoded once."""
    with ThreadPoolExecutor(_DECODERS) as pool, telemetry.progress(
            f"{data.name}: looking at", len(data), "pictures") as bar:
        broken: dict[int, str] = {}
        for number, picture in enumerate(pool.map(lambda i: _decoded(data, i), range(len(data)))):
            if isinstance(picture, str):
                broken[number] = picture
            bar.advance()
    return without(data, broken)[0]


def without(data: Dataset, broken: dict[int, str]) -> tuple[Dataset, Int[np.ndarray, " kept"]]:
    """The data set without those pictures, which are listed as skipped, and the numbers of those that stay; a class
    without a picture can still be answered. ValueError when nothing is left."""
    kept = [i for i in range(len(data)) if i not in broken]
    if not kept:
        raise ValueError(f"no picture of {data.name} can be decoded; the first says: {next(iter(broken.values()))}")
    told = tuple((data.ids[i], reason) for i, reason in sorted(broken.items()))
    left = replace(subset(data, kept), classes=data.classes, skipped=(*data.skipped, *told)) if broken else data
    return left, np.array(kept, np.int64)


def embedded(
    embedder: Embedder, data: Dataset, images: Float[np.ndarray, "pictures dim"], runtime: str = "",
    looks: Looks | None = None, *, keep: bool = True,
) -> Embedded:
    """What a task is given: these vectors, and texts and pictures that are embedded once, pictures by their pixels.
    `keep` is as for `embed_dataset`."""
    kept, drawn = _Kept(embedder, runtime, "texts", keep), _Kept(embedder, runtime, "pixels", keep)

    def texts(wanted: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        if new := [text for text in dict.fromkeys(wanted) if text not in kept]:
            with telemetry.progress(f"{embedder.spec.name}: texts", len(new), "texts") as bar:
                for start in range(0, len(new), BLOCK * 4):
                    part = new[start : start + BLOCK * 4]
                    kept.add(part, _checked(embedder.embed_texts(part), embedder))
                    bar.advance(len(part))
        return kept.vectors(wanted)

    def pictures(wanted: Sequence[Picture]) -> Float[np.ndarray, "pictures dim"]:
        names = [sha256_bytes(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()) for picture in wanted]
        if new := {name: picture for name, picture in zip(names, wanted, strict=True) if name not in drawn}:
            drawn.add(list(new), _checked(embedder.embed_images(list(new.values())), embedder))
        return drawn.vectors(names)

    return Embedded(spec=embedder.spec, data=data, images=images, texts=texts, pictures=pictures,
                    decode=lambda i: decode(data.read(i)), looks=looks or Looks())


class _Kept:
    """Vectors on disk by what they are of: a block is a file of vectors and, written after it, one of what they are of.
    In memory alone where `keep` is False.

    Several processes may write; none changes or removes what is there.
    """

    def __init__(self, embedder: Embedder, runtime: str, what: str, keep: bool):
        key = sha256_bytes(f"{embedder.spec.fingerprint} {runtime}".encode())[:24]
        folder = home() / "evaluations" / f"{embedder.spec.fingerprint[:12]}-{key}" / what
        self._folder = folder if keep else None
        self._dim = embedder.spec.dim
        self._blocks: list[Float[np.ndarray, "block dim"]] = []
        self._place: dict[str, tuple[int, int]] = {}
        for told in sorted(folder.glob("*.json")) if keep else ():
            block = json.loads(told.read_text(encoding="utf-8"))
            self._know(block["of"], np.load(told.with_suffix(".npy"), mmap_mode="r"))

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def add(self, names: Sequence[str], vectors: Float[np.ndarray, "block dim"]) -> None:
        """Keep them."""
        if self._folder is not None:
            told = json.dumps({"of": list(names)})
            file = self._folder / sha256_bytes(told.encode())[:24]
            with atomic_write(file.with_suffix(".npy")) as stream:
                np.save(stream, vectors)
            write_text(file.with_suffix(".json"), told)
        self._know(names, vectors)

    def vectors(self, names: Sequence[str]) -> Float[np.ndarray, "names dim"]:
        """Of each, in this order."""
        out = np.empty((len(names), self._dim), np.float32)
        for number, name in enumerate(names):
            block, row = self._place[name]
            out[number] = self._blocks[block][row]
        return out

    def _know(self, names: Sequence[str], vectors: np.ndarray) -> None:
        self._place |= {name: (len(self._blocks), row) for row, name in enumerate(names)}
        self._blocks.append(vectors)


def _decoded(data: Dataset, number: int) -> Picture | str:
    try:
        return decode(data.read(number))
    except PictureError as error:
        return str(error)


def _checked(vectors: Float[np.ndarray, "n dim"], embedder: Embedder) -> Float[np.ndarray, "n dim"]:
    if bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise NotFiniteVectors(f"{embedder.spec.name} gave {bad} of {len(vectors)} vectors that are not finite; its "
                               "weights or its precision are at fault: try precision='fp32', or verify the model")
    return vectors
