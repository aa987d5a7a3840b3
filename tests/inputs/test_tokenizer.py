"""Tokenizer: no script is unknown, padding on the right, the end token survives truncation, no batch-mates matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import CheckpointError
from diptych.inputs.text import clean
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy, train_bpe

TEXTS = ["red apple", "green apple", "manzana roja", "赤いりんご", "красное яблоко", "تفاحة حمراء"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_bpe(TEXTS, vocab_size=400, alphabet=60), TokenizerPolicy(length=12))


@settings(deadline=None, max_examples=80)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_ids_end_with_eos_then_padding_and_do_not_depend_on_batch_mates(tokenizer, texts):
    ids = tokenizer.encode(texts)
    assert ids.shape == (len(texts), 12) and (ids != 2).all()  # 2 is <unk>: bytes stand in for every character
    for row, text in zip(ids, texts, strict=True):
        end = int((row == 1).argmax())
        assert row[end] == 1 and (row[end + 1 :] == 0).all() and (row[:end] > 1).all()
        assert (row == tokenizer.encode([text])[0]).all()


@settings(deadline=None, max_examples=50)
@given(text=st.text(alphabet="abc è赤яت ", max_size=8))
def test_short_texts_round_trip(tokenizer, text):
    wide = Tokenizer(tokenizer.backend, TokenizerPolicy(length=64))
    ids = [int(i) for i in wide.encode([text])[0] if i > 1]
    assert wide.backend.decode(ids, skip_special_tokens=False).strip() == clean(text, "nfkc_lower")


def test_training_is_deterministic():
    one, two = (train_bpe(TEXTS, 400, 60).to_str() for _ in range(2))
    assert one == two


def test_cleaning():
    assert clean("  Ｒed\tAPPLE ", "nfkc_lower") == "red apple"
    assert clean(" A b", "lower") == " a b" and clean(" A b", "none") == " A b"


def test_a_length_without_room_is_refused():
    with pytest.raises(ValueError, match="room"):
        TokenizerPolicy(length=2)


def test_a_lone_surrogate_is_a_question_mark(tokenizer):
    assert (tokenizer.encode(["a\ud83d"]) == tokenizer.encode(["a?"])).all()


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer file"):
        Tokenizer.from_file(tmp_path / "tokenizer.json", TokenizerPolicy(length=5))


def test_no_texts():
    assert Tokenizer(train_bpe(TEXTS, 400, 60), TokenizerPolicy(length=5)).encode([]).shape == (0, 5)
    assert np.issubdtype(Tokenizer(train_bpe(TEXTS, 400, 60), TokenizerPolicy(length=5)).encode(["x"]).dtype, np.int64)
