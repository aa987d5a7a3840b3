"""ROUGE-L and CIDEr-D to the last digit of the COCO captioning evaluation, and what they say of copies and strangers.

The expected numbers are pycocoevalcap 1.2's (`Rouge` and `Cider`), run once on these captions: its wheel has 104 MB of
Java that no test needs. 300 drawn corpora of it agreed within 1e-15.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.evaluation.metrics.captions import cider, frequencies, rouge_l

REFERENCES = [
    ["a man rides a brown horse on the beach", "a person riding a horse near the sea",
     "someone on a horse at the beach"],
    ["two dogs play with a red ball in the grass", "dogs chasing a ball"],
    ["a bowl of soup next to a glass of water on a table", "soup and water on the table"],
    ["a red heart"],
    ["a group of people standing around a kitchen", "people in a kitchen preparing food",
     "several people cook dinner"]]
SAID = ["a man riding a horse on the beach", "two dogs play in the snow", "a bowl of soup on a wooden table", "heart",
        "a cat a cat a cat sleeps on the sofa"]
ROUGE = [0.8148854961832059, 0.5980392156862745, 0.6392215568862274, 0.45864661654135336, 0.22676579925650556]
CIDER = [2.871087400983994, 1.5942241824964196, 1.8496135045920914, 2.055168141693185, 0.0]

TRUE = [[text.split() for text in own] for own in REFERENCES]
sentences = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9)


def test_the_numbers_are_the_coco_evaluations():
    known = frequencies(TRUE)
    assert [rouge_l(text.split(), own) for text, own in zip(SAID, TRUE, strict=True)] == pytest.approx(ROUGE, rel=1e-12)
    assert [cider(text.split(), own, known) for text, own in zip(SAID, TRUE, strict=True)] == pytest.approx(
        CIDER, rel=1e-12)


def test_one_sentence_for_every_picture_says_nothing():
    known = frequencies(TRUE)
    assert max(cider(["on", "the", "table"], own, known) for own in TRUE) > 1  # of the one it is true of
    assert all(cider(["a"], own, frequencies([["a", "thing"]] * 3)) == 0 for own in TRUE)
    assert sum(cider(["a", "photo", "of", "a", "thing"], own, known) for own in TRUE) / len(TRUE) < 0.1


@given(sentences, st.lists(sentences, min_size=1, max_size=3))
def test_a_copy_is_best_and_nothing_is_worst(said, others):
    known = frequencies([[said], *([other] for other in others), [["z"]]])
    assert rouge_l(said, [said, *others]) == pytest.approx(1) and rouge_l([], [said]) == 0 == cider([], [said], known)
    own = cider(said, [said], known)
    assert 0 <= cider(said, [others[0]], known) <= own + 1e-9 and own <= 10 + 1e-9
    assert cider(["z"], [said], known) == rouge_l(["z"], [said]) == 0


def test_the_longest_common_subsequence_may_have_gaps():
    assert rouge_l([*"axbyc"], [[*"abc"]], beta=1.0) == pytest.approx(2 * 0.6 / 1.6)


@pytest.mark.parametrize("references", [[], [[]], [["a"], []]])
def test_a_reference_has_words(references):
    for measure in (lambda: rouge_l(["a"], references), lambda: cider(["a"], references, frequencies([[["a"]]]))):
        with pytest.raises(ValueError, match="every reference has words"):
            measure()
