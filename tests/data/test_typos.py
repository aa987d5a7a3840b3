"""Slips of every kind in every script, and paraphrases one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data.typos import misspell, paraphrases


def distance(a, b):
    """Damerau and Levenshtein's: insertions, deletions, replacements and swaps of neighbours."""
    table = {(-1, j): j + 1 for j in range(-1, len(b))} | {(i, -1): i + 1 for i in range(-1, len(a))}
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (one != other))
            if i and j and one == b[j - 1] and a[i - 1] == other:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a) - 1, len(b) - 1]


def all_slips(text, draws=400):
    return {misspell(text, np.random.default_rng(seed)) for seed in range(draws)}


def test_every_slip_of_a_word():
    neighbours = {"cst", "cqt", "cwt", "czt", "car", "cay", "caf", "cag"}  # around a: q w s z; around t: r y f g
    assert all_slips("cat") == neighbours | {"caat", "catt", "ct", "ca", "cta"}


def test_kinds_are_equally_likely():
    slips = [misspell("cat", np.random.default_rng(seed)) for seed in range(1000)]
    assert 200 < slips.count("cta") < 300  # one of four kinds; 4 deviations are 55


def test_capitals_stay_capitals():
    assert {slip[1:] for slip in all_slips("XAT") if len(slip) == 3} >= {"ST", "AR"}
    assert all(slip.isupper() for slip in all_slips("CAT"))


@pytest.mark.parametrize(("text", "slips"), [
    ("кот", {"коь", "крт", "коот", "кто"}), ("γάλα", {"γάα", "γλάα", "γάκα"}),
    ("कमल", {"कल", "कम", "कलम"}), ("सेब", {"सब", "से", "सबे"}),
    ("红苹果", {"红果", "红苹", "红果苹"}), ("사과나무", {"사나과무", "사과무"}),
    ("ดอกไม้", {"ดอไม้", "ดกอไม้"}), ("تفاحة", {"تاحة", "تافحة"}), ("תפוח", {"תפח", "תופח", "תפןח"})])
def test_slips_of_many_scripts(text, slips):
    assert slips <= all_slips(text)


def test_without_a_keyboard_letters_are_dropped_or_swapped_only():
    for text in ("कमल", "红苹果", "사과나무", "تفاحة"):
        assert all(set(slip) <= set(text) and len(slip) <= len(text) for slip in all_slips(text))


@pytest.mark.parametrize("text", ["", "ox", "3D 42", "!!!", "苹果", "100 % ok"])
def test_what_has_no_long_word_stays(text):
    assert misspell(text, np.random.default_rng(0), 3) == text


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=20) | st.text("ab c1é", max_size=12), st.integers(0, 4), st.integers(0, 1000))
def test_slips_are_few_keep_first_letters_and_numbers_and_never_cancel(text, edits, seed):
    out = misspell(text, np.random.default_rng(seed), edits)
    assert distance(text, out) <= edits
    assert out == misspell(text, np.random.default_rng(seed), edits)
    assert [c for c in out if not c.isalpha() and c.isascii()] == [c for c in text if not c.isalpha() and c.isascii()]
    assert out[:1] == text[:1]
    has_word = any(len(word) >= 3 and word.isascii() and word.isalpha() for word in text.split())
    assert edits == 0 or not has_word or out != text


def test_one_slip_does_not_undo_another():
    assert all(misspell("cat", np.random.default_rng(seed), 2) != "cat" for seed in range(300))


def test_each_word_keeps_its_first_letter():
    for seed in range(50):
        out = misspell("brown dogs running", np.random.default_rng(seed), 3)
        assert [word[0] for word in out.split(" ")] == ["b", "d", "r"]


def test_negative_edits_are_refused():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        misspell("cat", np.random.default_rng(0), -1)


@pytest.mark.parametrize(("text", "said"), [
    ("a man with a red hat", {"with a red hat, a man", "man with a red hat", "the man with a red hat",
                              "a picture of a man with a red hat", "an image of a man with a red hat",
                              "A MAN WITH A RED HAT", "A man with a red hat."}),
    ("A cat and a dog.", {"a dog and a cat", "a picture of a cat and a dog", "an image of a cat and a dog",
                          "a cat and a dog", "A CAT AND A DOG"}),
    ("fork and knife", {"knife and fork", "a picture of fork and knife", "an image of fork and knife",
                        "FORK AND KNIFE", "Fork and knife."}),
    ("a photo of a dog", {"a dog", "a photograph of a dog", "a picture of a dog", "an image of a dog",
                          "A PHOTO OF A DOG", "A photo of a dog."}),
    ("The picture of Germany", {"Germany", "an image of Germany", "the picture of germany", "THE PICTURE OF GERMANY",
                                "The picture of Germany."}),
    ("A man is riding a horse.", {"a man is riding a horse", "A MAN IS RIDING A HORSE"}),
])
def test_paraphrases_one_by_one(text, said):
    if " is " in text:
        said = said | {"man is riding a horse", "the man is riding a horse"}
    assert set(paraphrases(text, np.random.default_rng(0))) == said


@pytest.mark.parametrize("text", [
    "black and white cat", "a black and white cat",  # not "white cat and black"
    "a man next to a woman with a hat",  # whose hat?
    "a man with a hat riding a horse", "a bottle of wine with a label", "a man with a hat, a dog"])
def test_what_could_change_the_meaning_is_not_moved(text):
    moved = {other for other in paraphrases(text, np.random.default_rng(0))
             if other.startswith("with ") or sorted(other.lower().split()) == sorted(text.lower().split())}
    assert {other.lower() for other in moved} <= {text.lower()}


def test_nothing_becomes_a_photo_that_was_not_called_one():
    for text in ("a dog", "a picture of a dog", "an image of a dog"):
        assert not any("photo" in other.lower() for other in paraphrases(text, np.random.default_rng(0)))


def test_the_generator_decides_the_order_only():
    orders = {tuple(paraphrases("a red boat", np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) > 10 and len({frozenset(order) for order in orders}) == 1
    assert paraphrases("  ", np.random.default_rng(0)) == []


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=30))
def test_paraphrases_are_others_without_repeats(text):
    others = paraphrases(text, np.random.default_rng(0))
    assert text not in others and len(set(others)) == len(others) and all(other.strip() for other in others)
