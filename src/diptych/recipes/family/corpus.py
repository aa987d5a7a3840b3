"""The bundled pictograms as training data: shards in memory, drawings put somewhere on a ground, a vocabulary.

A drawing is cut out: where it is put is known, so that it says where things are as well as what they are.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from diptych.core.types import Picture
from diptych.data import drawings, pictograms
from diptych.data.records import MemoryShard, Record, Shard
from diptych.data.regions import Box
from diptych.inputs.text import Cleaning
from diptych.inputs.tokenizer import train_bpe

HELD_OUT_VENDOR = "openmoji"
"""No recipe learns from this vendor's drawings: it is who the tests ask."""

TEMPLATES = ("a drawing of {}", "an icon of {}", "a picture of {}", "a sticker of {}", "a sketch of {}", "{} icon",
             "an illustration of {}", "clip art of {}")

_SHARD = 1024


class Placed(NamedTuple):
    """A drawing on its ground, and where it is: shares of the picture's sides, and how opaque each pixel is."""

    picture: Picture
    box: Box
    mask: Picture


def shards(languages: Sequence[str] = ("en",)) -> tuple[Shard, ...]:
    """The train split without the held-out vendor, each picture with its names and keywords in these languages."""
    vendors = [vendor for vendor in pictograms.VENDORS if vendor != HELD_OUT_VENDOR]
    said: dict[str, list[str]] = {}
    for row in pictograms.names(list(languages)).to_pylist():
        said.setdefault(row["hexcode"], []).extend([row["name"], *(row["keywords"] or ())])
    records = [
        Record(key=row["id"], data=row["picture"], captions=tuple(dict.fromkeys(said[row["hexcode"]])),
               metadata={"group": row["hexcode"]})
        for row in pictograms.pictures(vendors, ["train"]).to_pylist() if row["hexcode"] in said]
    return tuple(MemoryShard(name=f"pictograms[{start}:{start + _SHARD}]", records=tuple(records[start:start + _SHARD]))
                 for start in range(0, len(records), _SHARD))


@functools.lru_cache(maxsize=1 << 16)
def cutout(data: bytes) -> Picture:
    """The drawing as RGBA; kept, for there are some ten thousand small ones and they come again and again."""
    return drawings.cutout(data)


def placed(drawing: Picture, rng: np.random.Generator, least: float = 0.55, ground: float = 0.5) -> Placed:
    """The drawing at `least` to all of a square's size, anywhere in it, on a colour (with probability `ground`) or on
    white."""
    side = max(drawing.size)
    share = float(rng.uniform(least, 1.0))
    width, height = (max(1, round(length * share)) for length in drawing.size)
    left, top = (int(rng.integers(0, side - length + 1)) for length in (width, height))
    red, green, blue = (int(c) for c in rng.integers(0, 256, 3)) if rng.random() < ground else (255, 255, 255)
    picture, mask = Image.new("RGB", (side, side), (red, green, blue)), Image.new("L", (side, side), 0)
    small = drawing.resize((width, height), Image.Resampling.BILINEAR)
    picture.paste(small, (left, top), small)
    mask.paste(small.getchannel("A"), (left, top))
    return Placed(picture, (left / side, top / side, (left + width) / side, (top + height) / side), mask)


def vocabulary(languages: Sequence[str], size: int, cleaning: Cleaning) -> str:
    """A tokenizer.json trained on the corpus's names, its templates, and the texts of a decoder's tasks."""
    texts = [text for shard in shards(languages) if isinstance(shard, MemoryShard)
             for record in shard.records for text in record.captions]
    names = sorted(set(texts))
    spoken = [template.format("") for template in TEMPLATES] * 50 + ["Cap: ARef: GCap: : 0 1 2 3 4 5 6 7 8 9"] * 50
    alphabet = len({c for text in names for c in text}) + 64
    return train_bpe([*names, *spoken], size, min(alphabet, size // 4), cleaning).to_str()
