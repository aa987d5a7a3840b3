import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.index import lexical


def found(captions, query):
    return lexical.build([[c] if isinstance(c, str) else c for c in captions]).matches([query]).nonzero()[0].tolist()


def test_every_word_must_be_there():
    captions = ["a red boat", "red", "boat at dusk", ["a boat", "so red"], "redder boats"]
    assert found(captions, "red boat") == [0, 3]
    assert found(captions, "boat") == [0, 2, 3]
    assert found(captions, "red boat zeppelin") == []
    assert found(captions, "!?") == found(captions, "") == []


@pytest.mark.parametrize("caption, query", [
    ("Café CRÈME", "cafe creme"), ("naïve", "NAIVE"), ("ＣＡＦＥ", "cafe"), ("straße", "STRASSE"), ("лёд", "лед"),
    ("don't panic", "don't"), ("half-moon", "half moon"), ("a 3d model", "3D"), ("लाल फल", "लाल"),
    ("사과 나무", "사과"),
    ("赤い果物", "果物"), ("赤い果物", "赤い 果物"), ("赤い果物と犬", "犬"), ("犬", "犬"), ("パンケーキ", "ケーキ"),
    ("แมวดำ", "แมว"), ("ﬁsh", "fish"), ("İstanbul", "istanbul"), ("قلب أحمر", "قلب"), ("ガラス", "ｶﾞﾗｽ"),
])
def test_scripts(caption, query):
    assert found([caption, "nothing of it"], query) == [0]


@pytest.mark.parametrize("caption, query", [
    ("赤い果物", "果赤"), ("赤い花", "赤い果物"), ("パン", "バン"), ("लाल", "लल"), ("boat", "boa"), ("東京都", "京"),
])
def test_what_is_another_word(caption, query):
    assert found([caption], query) == ([0] if query == "京" else [])


words = st.lists(st.sampled_from(["red", "boat", "sea", "sky", "dog"]), max_size=8)


@settings(deadline=None, max_examples=150)
@given(st.lists(words, max_size=8), words)
def test_bm25_agrees_with_the_formula(documents, query):
    index = lexical.build([[" ".join(d)] for d in documents])
    got, names = index.scores([" ".join(query)]), set(query)
    matches = [bool(names) and names <= set(d) for d in documents]
    assert index.matches([" ".join(query)]).tolist() == matches
    if not names <= {w for d in documents for w in d}:
        assert not got.any()
        return
    mean = sum(map(len, documents)) / len(documents) if documents else 1
    for document, score in zip(documents, got, strict=True):
        want = 0.0
        for word in names:
            df = sum(word in d for d in documents)
            tf = Counter(document)[word]
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            want += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(document) / mean)) if tf else 0
        assert score == pytest.approx(want)


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_a_text_contains_itself(text):
    assert set(lexical.query_tokens(text)) <= set(lexical.document_tokens(text))
    if lexical.query_tokens(text):
        assert found([text], text) == [0]
