import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.index.query import Term, parse


def pairs(query, exclude=()):
    return [(term.text, term.weight) for term in parse(query, exclude)]


@pytest.mark.parametrize("query, want", [
    ("2:boat + sunset - people", [("boat", 2), ("sunset", 1), ("people", -1)]),
    ("a red boat", [("a red boat", 1)]),
    ("T-shirt", [("T-shirt", 1)]),
    ("C++ and c-sharp", [("C++ and c-sharp", 1)]),
    ("boat -people", [("boat -people", 1)]),
    ("boat - 0.5:people", [("boat", 1), ("people", -0.5)]),
    ("- people", [("people", -1)]),
    ("boat − people", [("boat", 1), ("people", -1)]),
    ("boat +", [("boat", 1)]),
    ("+ - +", []),
    ("", []), ("   ", []), ('""', []),
    ("16:9", [("16:9", 1)]),
    ("10:30 clock", [("10:30 clock", 1)]),
    ("2: boat", [("boat", 2)]),
    ('2:"3d model"', [("3d model", 2)]),
    ('"rock + roll" - "2:1"', [("rock + roll", 1), ("2:1", -1)]),
    ('5" pipe + cat', [('5" pipe', 1), ("cat", 1)]),
    ('a "red" boat', [("a red boat", 1)]),
    ("0:boat + cat", [("cat", 1)]),
    ("ratio 3:two", [("ratio 3:two", 1)]),
    ("犬 + 猫\n- 鳥", [("犬", 1), ("猫", 1), ("鳥", -1)]),
])
def test_examples(query, want):
    assert pairs(query) == want


def test_exclusions_are_taken_literally():
    assert pairs("boat", ["2:people + dogs", " "]) == [("boat", 1), ("2:people + dogs", -1)]


texts = st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"])).map(str.strip).filter(bool)
terms = st.lists(st.builds(Term, text=texts, weight=st.sampled_from([1.0, 2.0, 0.25, 13.5, -1.0, -3.0])))


@settings(deadline=None, max_examples=300)
@given(terms)
def test_what_is_written_is_read(terms):
    written = " ".join(f'{"-" if t.weight < 0 else "+"} {abs(t.weight)}:"{t.text}"' for t in terms)
    assert list(parse(written)) == terms


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_everything_is_a_query(query):
    for term in parse(query):
        assert term.text == term.text.strip() != "" and term.weight != 0 and abs(term.weight) != float("inf")


plain = st.text("abcdefgh-+:ä犬'", min_size=1).filter(lambda word: word not in ("+", "-"))


@settings(deadline=None)
@given(st.lists(plain, min_size=1))
def test_words_without_operators_stay_one_text(words):
    query = " ".join(words)
    assert pairs(query) == [(query, 1)]
