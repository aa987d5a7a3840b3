"""Batches of distinct concepts in proportion to their weights; augmentation is pure and stays a picture."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.augment import Augmentation, augment
from diptych.data.drawings import BatchSampler, Drawings


def encoded(colour) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    picture.paste(Image.new("RGBA", (12, 12), colour), (6, 6))
    picture.save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def drawings(concepts, weight):
    return Drawings(encoded=[encoded((200, 30, 30, 255))] * len(concepts), concept=np.array(concepts),
                    flip=np.ones(len(concepts), bool), weight=np.array(weight, float))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 4))
def test_a_batch_holds_a_concept_once_and_never_one_of_weight_zero(seed, size):
    source = drawings([0, 0, 1, 2, 3, 3, 5], [1, 1, 1, 1, 0, 1])
    sampler = BatchSampler(source)
    with np.errstate(divide="ignore"):
        drawn = sampler.draw(size, np.random.default_rng(seed))
    shown = source.concept[drawn]
    assert len(set(shown)) == size and 4 not in shown


def test_weights_are_the_share_of_single_draws():
    sampler = BatchSampler(drawings([0, 1, 2], [1, 2, 5]))
    rng = np.random.default_rng(0)
    counts = np.bincount([sampler.draw(1, rng)[0] for _ in range(8000)], minlength=3) / 8000
    assert counts == pytest.approx(np.array([1, 2, 5]) / 8, abs=0.02)  # three standard errors are 0.017


def test_a_batch_larger_than_the_concepts_is_refused():
    with pytest.raises(ValueError, match="lower the batch"):
        BatchSampler(drawings([0, 1], [1, 1])).draw(3, np.random.default_rng(0))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), size=st.integers(16, 64))
def test_augmentation_is_a_function_of_the_generator(seed, size):
    cutout = drawings([0], [1]).cutout(0)
    once, again = (augment(cutout, np.random.default_rng(seed), size, Augmentation(), flip=True) for _ in range(2))
    assert once.shape == (size, size, 3) and once.dtype == np.uint8
    assert (once == again).all()


STILL = Augmentation(background=0, smallest=1, rotate_degrees=0, crop=0, flip=0, jitter=0, hue=0, grey=0, lines=0,
                     outline=0, invert=0, blur=0)


def test_no_augmentation_changes_nothing_but_size_and_place():
    shown = augment(drawings([0], [1]).cutout(0), np.random.default_rng(0), 24, STILL, flip=True)
    colours = {tuple(int(v) for v in c) for c in shown.reshape(-1, 3)}
    assert (255, 255, 255) in colours and (200, 30, 30) in colours


def test_an_outline_is_dark_and_keeps_the_colour_inside_while_lines_keep_none():
    cutout, rng = drawings([0], [1]).cutout(0), np.random.default_rng(0)
    outlined = augment(cutout, rng, 24, replace(STILL, outline=1.0), flip=True)
    dark = (outlined.max(axis=2) < 100).any(axis=1)
    assert tuple(outlined[12, 12]) == (200, 30, 30) and dark.any() and not dark.all()
    lines = augment(cutout, rng, 24, replace(STILL, lines=1.0), flip=True)
    assert (lines[12, 12] > 240).all() and (lines.max(axis=2) < 120).any()
