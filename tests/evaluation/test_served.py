"""What a search is found to have answered: by hand, with a search that says what it is told to."""

import math

import numpy as np
import pytest

from diptych.core.types import Hit, SearchResult
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.embedded import Embedded, Looks
from diptych.evaluation.served import ServedConfig, served
from fakes import ColourEmbedder

ANSWERS = {"first": "abcd", "third": "bdac", "never": "bcd", "twin": "cab", "nothing here": "ab"}
ASKED = {"first": (0,), "third": (0,), "never": (0,), "twin": (3,), "nothing here": (0,), "-": (0,)}


def search(query, k):
    if query == "-":
        raise ValueError("there is nothing to look for in '-'")
    hits = tuple(Hit(id=uri * 64, uri=uri, caption="", score=0.5, probability=0.5, matches=query != "nothing here",
                     ranks={}) for uri in ANSWERS.get(query, ""))
    return SearchResult(query=query, model_name="m", fingerprint="f", took_ms=float(len(query)), total=4, hits=hits[:k])


def world(search=search, captions=ASKED):
    data = Dataset(name="made", sha256="0", ids=tuple("abcd"), read=lambda i: b"", labels=("",) * 4, same=(0, 1, 2, 2),
                   captions=tuple(Caption(text=text, pictures=of) for text, of in captions.items()), distractors=True)
    embedder = ColourEmbedder()
    return Embedded(spec=embedder.spec, data=data, images=np.zeros((4, 4), np.float32), texts=embedder.embed_texts,
                    pictures=embedder.embed_images, decode=lambda i: None, looks=Looks(search=search))


def test_hits_answers_and_times_by_hand():
    [found] = served(world(), ServedConfig(k=5))
    assert found.details["rank"] == [1, 3, math.inf, 1, 1, math.inf]  # c has the bytes of d
    assert found.values["hit@1"].tolist() == [1, 0, 0, 1, 1, 0] and found.values["hit@5"].tolist() == [1, 1, 0, 1, 1, 0]
    assert "hit@10" not in found.values and found.values["answered"].tolist() == [1, 1, 1, 1, 0, 0]
    assert found.figure("p50_ms") == 5.0 and found.figure("p95_ms") == 12.0  # of 4, 5, 5, 5, 12; "-" took no time
    assert math.isnan(found.figure("p50_ms", np.array([0, 0, 0, 0, 0, 1.0])))
    assert found.better("p95_ms") == "lower" and found.better("hit@1") == "higher"
    assert found.details["found"][2] == ["b", "c", "d"] and found.ids[0] == "|first"


def test_nothing_to_search_is_no_outcome():
    assert served(world(search=None), ServedConfig()) == [] == served(world(captions={}), ServedConfig())
    with pytest.raises(ValueError, match="at least 1; got 0"):
        ServedConfig(k=0)
