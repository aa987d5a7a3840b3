"""Captions: what is drawn is true, positives are all the true pairs, and drawing is a function of the generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data.captions import Caption, CaptionMix, Captions, Named

NAMED = [
    Named(concept="cat", language="en", name="cat", keywords=("face", "pet")),
    Named(concept="dog", language="en", name="dog", keywords=("face", "pet", "dog")),
    Named(concept="sun", language="en", name="sun", keywords=()),
    Named(concept="cat", language="de", name="katze", keywords=("gesicht",)),
    Named(concept="dog", language="de", name="hund", keywords=("gesicht",)),
    Named(concept="elsewhere", language="en", name="ghost", keywords=()),
]
TABLE = Captions(NAMED, ["cat", "dog", "sun"], {"en": 0.5, "de": 0.5})
SAID = {i: {t for n in NAMED if n.concept == c for t in (n.name, *n.keywords)} for i, c in enumerate(TABLE.concepts)}


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), rows=st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_a_drawn_caption_is_true_and_drawing_is_pure(seed, rows):
    mix = CaptionMix(keyword=0.3, name_and_keyword=0.3, template=0.2)
    first, again = (TABLE.draw(np.array(rows), np.random.default_rng(seed), mix) for _ in range(2))
    assert first == again
    for row, caption in zip(rows, first, strict=True):
        assert any(text in caption.text for text in SAID[row])
        if caption.text_id is not None:
            assert TABLE.texts[caption.text_id] in caption.text and row in TABLE.truth[caption.text_id]


def test_positives_are_all_true_pairs():
    ids = {text: i for i, text in enumerate(TABLE.texts)}
    captions = [Caption(text="face", text_id=ids["face"]), Caption(text="dog, pet", text_id=None),
                Caption(text="sun", text_id=ids["sun"])]
    found = TABLE.positives(np.array([0, 1, 2]), captions, np.array([0, 1, 2]))
    assert found.tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def test_a_concept_without_a_language_speaks_another():
    drawn = TABLE.draw(np.array([2] * 50), np.random.default_rng(0), CaptionMix())
    assert {"sun"} == {w for c in drawn for w in c.text.split() if w in ("sun", "sonne")}
    assert "ghost" not in TABLE.texts


def test_shares_above_one_are_refused():
    with pytest.raises(ValueError, match="exceed 1"):
        CaptionMix(keyword=0.6, name_and_keyword=0.5)
