"""The corpus tests on a world small enough to count by hand."""

import numpy as np
import pytest

from diptych.evaluation.pictograms import Embedded, Item, scores

WORDS = {"cat": 0, "dog": 1, "sun": 2, "katze": 0, "hund": 2}


def embed(texts):
    return np.eye(4)[[WORDS.get(t, 3) for t in texts]]


def world():
    def item(concept, vendor, split, pixels=None):
        return Item(concept=concept, vendor=vendor, split=split, pixel_hash=pixels or f"{vendor}/{concept}")

    items = [item("cat", "other", "train"), item("dog", "other", "train"),
             item("sun", "other", "test_zeroshot"), item("sun", "a", "test_zeroshot"),
             item("moon", "a", "test_zeroshot")]
    vectors = np.eye(4)[[0, 1, 2, 2, 1]]
    names = {"en": {"cat": "cat", "dog": "dog", "sun": "sun", "moon": "moon"},
             "de": {"cat": "katze", "dog": "hund"}, "xx": {"cat": "Cat", "dog": "chien"}}
    return Embedded(items=items, vectors=vectors, names=names)


def test_every_figure_by_hand():
    found = scores(world(), embed, "other", held_out=("xx",))
    assert found["seen_concepts/unseen_vendor/t2i_hit@1"] == 1.0
    assert found["unseen_concepts/seen_vendors/t2i_hit@1"] == 0.5  # "moon" is no word: every picture ties at zero
    assert found["language/de/t2i_hit@1"] == 0.5  # "hund" points at the sun
    # in xx "cat" repeats the English name and is not asked; "chien" is no word
    assert found["language/xx/t2i_hit@1"] == 0.0
    assert found["languages/trained/t2i_hit@1"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["languages/held_out/t2i_hit@1"] == 0.0
    assert found["languages/all/t2i_hit@1"] == pytest.approx((1.0 + 0.5 + 0.0) / 3)


def test_pixel_identical_pictures_are_one_answer():
    shown = world()
    twins = [Item(concept=i.concept, vendor=i.vendor, split=i.split,
                  pixel_hash="same" if i.split == "train" else i.pixel_hash) for i in shown.items]
    swapped = Embedded(items=twins, vectors=shown.vectors[[1, 0, 2, 3, 4]], names=shown.names)
    assert scores(swapped, embed, "other", held_out=())["seen_concepts/unseen_vendor/t2i_hit@1"] == 1.0
