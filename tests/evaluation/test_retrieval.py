"""Retrieval both ways: against a matrix by hand, in several languages, with twins and ties."""

from dataclasses import replace

import numpy as np
import pytest

from diptych.core.types import EmbedderSpec
from diptych.evaluation.dataset import Caption, Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.retrieval import RetrievalConfig, retrieval
from fakes import ConstantEmbedder

SPEC = EmbedderSpec(name="made", fingerprint="0" * 64, dim=3, image_size=8, languages=("en",), score_kind="sigmoid",
                    logit_scale=10.0, logit_bias=-5.0)


def unit(rows):
    rows = np.array(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(images, captions, same=(), **columns):
    """`captions` are (text, language, pictures, vector)."""
    vectors = {text: vector for (text, _, _, _), vector in zip(captions, unit([c[3] for c in captions]), strict=True)}
    count = len(images)
    data = Dataset(name="made", sha256="0", ids=tuple(f"p{i}" for i in range(count)), read=lambda i: b"",
                   labels=("",) * count, same=tuple(same),
                   captions=tuple(Caption(text=t, language=g, pictures=tuple(p)) for t, g, p, _ in captions),
                   columns={name: tuple(values) for name, values in columns.items()})
    return Embedded(spec=SPEC, data=data, images=unit(images), texts=lambda some: np.stack([vectors[t] for t in some]),
                    pictures=lambda some: np.zeros((len(some), 3), np.float32), decode=lambda i: None)


IMAGES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_ranks_by_hand():
    there, back = retrieval(world(IMAGES, [
        ("a", "en", [0], (3, 2, 1)), ("b", "en", [1], (3, 2, 1)), ("c", "en", [2, 0], (1, 2, 3))]), RetrievalConfig())
    assert there.ids == ["en|a", "en|b", "en|c"] and there.details["rank"] == [1, 2, 1]
    assert there.values["hit@1"].tolist() == [1, 0, 1]
    assert there.values["mrr"].tolist() == [1, 0.5, 1]
    assert there.values["map"].tolist() == pytest.approx([1, 0.5, (1 + 2 / 3) / 2])
    # p0: a .80, b .80 (a tie with a right one), c .27; p1: all but c .53; p2: c
    assert back.details["rank"] == [2, 3, 1]  # "a" is true of p0 and ties with "b", which is not
    assert there.details["found"][0] == ["p0", "p1", "p2"] and there.details["right"] == [1, 0, 1]


def test_twins_are_one_answer():
    images, captions = [(1, 0, 0), (1, 0, 0), (0, 1, 0)], [("a", "", [0], (1, 0, 0)), ("b", "", [1], (2, 1, 0)),
                                                          ("c", "", [2], (0, 1, 0))]
    apart, _ = retrieval(world(images, captions), RetrievalConfig())
    together, _ = retrieval(world(images, captions, same=(0, 0, 2)), RetrievalConfig())
    assert apart.values["hit@1"].tolist() == [0, 0, 1] and together.values["hit@1"].tolist() == [1, 1, 1]


def test_languages_have_galleries_of_their_own_and_count_alike():
    captions = [("a", "en", [0], (1, 0, 0)), ("b", "en", [1], (0, 1, 0)), ("c", "en", [2], (0, 0, 1)),
                ("x", "de", [0], (0, 1, 0)), ("y", "de", [1], (0, 1, 0))]
    there, back = retrieval(world(IMAGES, captions), RetrievalConfig())
    assert there.slices["language"] == ["de"] * 2 + ["en"] * 3
    assert there.values["hit@1"].tolist() == [0, 1, 1, 1, 1] and there.figure("hit@1") == 0.8
    assert there.figure("mean_hit@1") == (0.5 + 1) / 2
    assert back.ids == ["de|p0", "de|p1", "en|p0", "en|p1", "en|p2"]
    assert there.chance["mean_hit@1"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    half = world(IMAGES, [(text, language.replace("en", ""), *rest) for text, language, *rest in captions])
    assert set(retrieval(half, RetrievalConfig())[0].slices["language"]) == {"de", "unnamed"}
    with pytest.raises(ValueError, match="it has 'de', and 3 that name no language: call their column caption_en"):
        retrieval(half, RetrievalConfig(languages=("en",)))
    alone, _ = retrieval(world(IMAGES, captions), RetrievalConfig(languages=("en",)))
    assert alone.figure("hit@1") == 1.0 and "mean_hit@1" not in alone.statistics


def test_captions_of_one_picture_are_drawn_together_and_columns_slice():
    _, back = retrieval(world(IMAGES, [("a", "en", [0, 1], (1, 1, 0)), ("b", "en", [2], (0, 0, 1))],
                              domain=("x", "x", "y")), RetrievalConfig())
    assert back.slices["domain"] == ["x", "x", "y"] and back.groups == ["0", "1", "2"]


def test_a_constant_embedder_finds_nothing():
    one = world(IMAGES, [(name, "en", [i], (1, 1, 1)) for i, name in enumerate("abc")])
    constant = ConstantEmbedder()
    same = Embedded(spec=constant.spec, data=one.data, images=constant.embed_images(range(3)),
                    texts=constant.embed_texts, pictures=constant.embed_images, decode=one.decode)
    for outcome in retrieval(same, RetrievalConfig()):
        assert outcome.figure("hit@1") == 0.0 and outcome.figure("mrr") == pytest.approx(1 / 3)


def test_mistakes_are_told():
    one = world(IMAGES, [("a", "en", [0], (1, 0, 0))])
    with pytest.raises(ValueError, match="has no captions; give a column 'caption'"):
        retrieval(replace(one, data=replace(one.data, captions=())), RetrievalConfig())
    with pytest.raises(ValueError, match="no captions in 'fr'; it has 'en'"):
        retrieval(one, RetrievalConfig(languages=("fr",)))
    with pytest.raises(ValueError, match=r"one \{\}"):
        RetrievalConfig(template="a photo")
