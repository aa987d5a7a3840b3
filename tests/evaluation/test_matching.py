"""True against other captions: the figures are scikit-learn's, and false captions are false."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from worlds import constant, dataset, embedded

from diptych.evaluation.dataset import Caption
from diptych.evaluation.matching import MatchingConfig, matching

COUNT = 120
CAPTIONS = [Caption(text=f"{language} {i}", pictures=(i,), language=language) for language in ("de", "en")
            for i in range(COUNT)]


def world(images, texts=None, captions=CAPTIONS, **more):
    return embedded(dataset(["x"] * len(images), captions=captions, **more), images, texts)


def test_the_area_is_scikit_learns_and_shuffled_captions_are_chance():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(COUNT, 8))
    texts = {caption.text: images[caption.pictures[0]] + rng.normal(size=8) for caption in CAPTIONS}
    one = world(images, texts)
    found = matching(one, MatchingConfig())
    assert len(found.ids) == 4 * COUNT and sum(found.details["true"]) == 2 * COUNT
    area = roc_auc_score(found.details["true"], found.details["cosine"])
    assert found.figure("auroc") == pytest.approx(area) and area > 0.8 and 0 < found.figure("fpr@95tpr") < 0.9
    assert set(found.slices["language"]) == {"de", "en"}
    guessed = matching(world(images), MatchingConfig())  # every text has a vector of its own
    assert abs(guessed.figure("auroc") - 0.5) < 0.08


def test_a_false_caption_is_true_of_no_picture_with_the_same_pixels():
    shared = [*CAPTIONS, Caption(text="all", pictures=tuple(range(COUNT)), language="en")]
    data_same = [i // 2 for i in range(COUNT)]
    found = matching(world(np.random.default_rng(0).normal(size=(COUNT, 8)), captions=shared, same=data_same),
                     MatchingConfig())
    for picture, text, true in zip(*(found.details[name] for name in ("picture", "text", "true")), strict=True):
        number = int(picture[1:])
        assert text == "all" or true == (int(text.split()[1]) // 2 == number // 2)
        assert text != "all" or true
    assert len(set(found.groups)) == COUNT // 2


def test_a_constant_embedder_is_chance_and_accepts_all():
    same = world(constant(COUNT), {caption.text: constant(1)[0] for caption in CAPTIONS})
    found = matching(same, MatchingConfig(captions=50))
    assert found.figure("auroc") == 0.5 and found.figure("fpr@95tpr") == 1.0 and len(found.ids) <= 100


def test_captions_that_are_held_apart_are_one_text():
    twice = [Caption(text=f"en {i % 2}", pictures=(i,), language="en") for i in range(COUNT)]
    found = matching(world(np.random.default_rng(0).normal(size=(COUNT, 8)), captions=twice), MatchingConfig())
    for picture, text, true in zip(*(found.details[name] for name in ("picture", "text", "true")), strict=True):
        assert true == (int(text.split()[1]) == int(picture[1:]) % 2)


def test_a_gold_set_does_not_say_what_is_false():
    one = world(constant(COUNT))
    with pytest.raises(ValueError, match="does not say of every query"):
        matching(replace(one, data=replace(one.data, distractors=True)), MatchingConfig())


def test_one_caption_is_no_matching():
    with pytest.raises(ValueError, match="no two captions in one language that are true of different pictures"):
        matching(world(constant(2), captions=[Caption(text="a", pictures=(0, 1)), Caption(text="b", pictures=(1, 0))]),
                 MatchingConfig())
