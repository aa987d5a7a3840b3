"""How well names find pictograms: the bundled corpus as a retrieval test, by vendor, split and language.

Three tests, each text → picture and picture → text: seen concepts drawn by an unseen vendor (1,336-way), unseen
concepts drawn by seen vendors (166-way, per vendor), and unseen concepts by the unseen vendor. Pictures that are
pixel-identical are one answer. Names are asked as they are, without a template.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diptych.evaluation.metrics.ranking import relevant_ranks
from diptych.inputs.text import clean

Embed = Callable[[Sequence[str]], Float[np.ndarray, "n dim"]]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture to be found: what it shows and where its pixels are known from."""

    concept: str
    vendor: str
    split: str
    pixel_hash: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """Pictures of base, non-flag concepts with their unit vectors, and the names: language → concept → name."""

    items: Sequence[Item]
    vectors: Float[np.ndarray, "pictures dim"]
    names: Mapping[str, Mapping[str, str]]


def scores(gallery: Embedded, embed: Embed, unseen_vendor: str, held_out: Sequence[str]) -> dict[str, float]:
    """Every figure of the model card, by name. `held_out` languages get their own mean."""
    seen_other = _pick(gallery, lambda i: i.split == "train" and i.vendor == unseen_vendor)
    unseen_other = _pick(gallery, lambda i: i.split == "test_zeroshot" and i.vendor == unseen_vendor)
    vendors = sorted({i.vendor for i in gallery.items} - {unseen_vendor})
    unseen_seen = [_pick(gallery, lambda i, v=v: i.split == "test_zeroshot" and i.vendor == v) for v in vendors]
    out: dict[str, float] = {}
    out |= _named("seen_concepts/unseen_vendor", _mean([_both_ways(gallery, seen_other, embed, "en")]))
    out |= _named("unseen_concepts/seen_vendors", _mean([_both_ways(gallery, u, embed, "en") for u in unseen_seen]))
    out |= _named("unseen_concepts/unseen_vendor", _mean([_both_ways(gallery, unseen_other, embed, "en")]))
    per_language = {
        language: _both_ways(gallery, seen_other, embed, language) for language in sorted(gallery.names)
    }
    for language, result in per_language.items():
        out |= _named(f"language/{language}", _mean([result]))
    trained = [result for language, result in per_language.items() if language not in held_out]
    out |= _named("languages/all", _average([_mean([r]) for r in per_language.values()]))
    out |= _named("languages/trained", _average([_mean([r]) for r in trained]))
    out |= _named("languages/held_out", _average([_mean([per_language[h]]) for h in held_out if h in per_language]))
    return out


def _pick(gallery: Embedded, keep: Callable[[Item], bool]) -> list[int]:
    return [i for i, item in enumerate(gallery.items) if keep(item)]


def _both_ways(gallery: Embedded, rows: list[int], embed: Embed, language: str) -> dict[str, np.ndarray]:
    """First-hit ranks text → picture and picture → text over the pictures `rows`.

    In another language, names that only repeat the English one, in whatever case, ask nothing about that language and
    are left out.
    """
    names, english = gallery.names[language], gallery.names["en"]
    concepts = sorted({gallery.items[i].concept for i in rows})
    asked = [c for c in concepts if c in names and (language == "en" or _said(names[c]) != _said(english.get(c, "")))]
    if not asked:
        return {"t2i": np.zeros(0), "i2t": np.zeros(0)}
    by_concept = {c: {gallery.items[i].pixel_hash for i in rows if gallery.items[i].concept == c} for c in asked}
    hashes = [gallery.items[i].pixel_hash for i in rows]
    positive = np.array([[h in by_concept[c] for h in hashes] for c in asked])
    there, back = relevant_ranks(embed([names[c] for c in asked]), gallery.vectors[rows], *np.nonzero(positive))
    return {"t2i": there.first, "i2t": back.first[positive.any(axis=0)]}


def _said(name: str) -> str:
    return clean(name, "nfkc_lower")


def _mean(results: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Hits over all queries of all results together."""
    out: dict[str, float] = {}
    for direction in ("t2i", "i2t"):
        ranks = np.concatenate([r[direction] for r in results])
        for k in (1, 5):
            out[f"{direction}_hit@{k}"] = float((ranks <= k).mean()) if len(ranks) else float("nan")
    return out


def _average(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([r[key] for r in results])) for key in results[0]} if results else {}


def _named(prefix: str, numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{key}": value for key, value in numbers.items()}
