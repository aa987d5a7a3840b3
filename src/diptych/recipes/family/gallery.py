"""How well a model in training finds the bundled drawings: the evaluator that the command passes into the loop."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from diptych.core.types import Embedder, Picture
from diptych.data import pictograms
from diptych.evaluation.metrics.ranking import hit_at_k, relevant_ranks
from diptych.inputs.image import decode
from diptych.recipes.family.config import PICTOGRAMS, Recipe
from diptych.recipes.family.corpus import HELD_OUT_VENDOR


def corpus_scores(recipe: Recipe) -> Callable[[Embedder], Mapping[str, float]] | None:
    """The evaluator of a recipe that learns from the bundled corpus: English names among the held-out vendor's drawings
    of seen concepts, both ways. None for other data, of which nothing is held out."""
    if all(source.paths != (PICTOGRAMS,) for source in recipe.data.sources):
        return None
    return scores


def scores(embedder: Embedder) -> Mapping[str, float]:
    """hit@1 and hit@5, text → picture and picture → text. Drawings with the same pixels are one answer."""
    pictures, names, positive = _gallery()
    there, back = relevant_ranks(embedder.embed_texts(names), embedder.embed_images(pictures), *np.nonzero(positive))
    return {f"{way}_hit@{k}": float(hit_at_k(ranks, k).mean()) for way, ranks in (("t2i", there), ("i2t", back))
            for k in (1, 5)}


@functools.cache
def _gallery() -> tuple[list[Picture], list[str], np.ndarray]:
    said = {row["hexcode"]: row["name"] for row in pictograms.names(["en"]).to_pylist()}
    rows = [row for row in pictograms.pictures([HELD_OUT_VENDOR], ["train"]).to_pylist()
            if row["base"] and row["hexcode"] in said]
    names = sorted({said[row["hexcode"]] for row in rows})
    index, alike = {name: i for i, name in enumerate(names)}, {row["pixel_hash"]: set[int]() for row in rows}
    for row in rows:
        alike[row["pixel_hash"]].add(index[said[row["hexcode"]]])
    positive = np.zeros((len(names), len(rows)), bool)
    for column, row in enumerate(rows):
        positive[list(alike[row["pixel_hash"]]), column] = True
    return [decode(row["picture"]) for row in rows], names, positive
