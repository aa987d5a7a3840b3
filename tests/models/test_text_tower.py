"""What a text's vector may depend on: its tokens, never its padding's length or the other texts."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import EOS, clip_towers, max_gap, random_towers, randomise, siglip_towers, tiny_towers

from diptych.models.config import TextConfig
from diptych.models.text import TextTransformer, encode_by_length
from diptych.models.two_tower import TwoTower

MEAN = randomise(TextTransformer(tiny_towers().text))
CAUSAL = randomise(TextTransformer(clip_towers().text))

TOLERANCE = 1e-5  # other shapes take other kernels, which add in another order

texts = st.lists(st.lists(st.integers(3, 290), max_size=11), min_size=1, max_size=6)


def padded(texts: list[list[int]], length: int, eos: int = 1) -> torch.Tensor:
    return torch.tensor([[*text, eos, *[0] * (length - 1 - len(text))] for text in texts])


@settings(deadline=None, max_examples=40)
@given(texts)
def test_the_masked_mean_depends_on_neither_padding_nor_batch(texts):
    together = MEAN(padded(texts, 12))
    for row, text in zip(together, texts, strict=True):
        for length in {len(text) + 1, 12}:
            assert max_gap(row, MEAN(padded([text], length))[0]) < TOLERANCE


@settings(deadline=None, max_examples=40)
@given(texts, st.integers(1, 7))
def test_encoding_by_length_is_plain_encoding(texts, buckets):
    ids = padded(texts, 12)
    assert max_gap(encode_by_length(MEAN, ids, 0, buckets), MEAN(ids)) < TOLERANCE


def test_a_padding_id_inside_a_text_does_not_cut_what_follows():
    ids = padded([[0] * 8 + [7, 8], [5]], 12)
    assert max_gap(encode_by_length(MEAN, ids, 0, 2), MEAN(ids)) < TOLERANCE


def test_encoding_by_length_cuts_the_padding_off():
    seen = []

    def encode(ids):
        seen.append(tuple(ids.shape))
        return MEAN(ids)

    encode_by_length(encode, padded([[5] * 6, [6], [7] * 6, []], 12), 0, 2)
    assert seen == [(2, 4), (2, 8)]  # the longest of each group, rounded up to a multiple of four


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(3, 290), max_size=7), st.integers(3, 290))
def test_a_causal_tower_does_not_see_what_follows_its_end(text, after):
    ids = padded([text], 9, eos=EOS)
    changed = ids.clone()
    changed[0, len(text) + 1 :] = min(after, EOS - 1)
    assert max_gap(CAUSAL(ids), CAUSAL(changed)) < TOLERANCE


def test_the_mean_is_over_the_real_tokens():
    config = dataclasses.replace(tiny_towers().text, layers=0, projection=None)
    tower = randomise(TextTransformer(config))
    ids = padded([[7, 8]], 12)
    tokens = tower.norm_post(tower.token_embed(ids[:, :3]) + tower.position[:3])
    assert max_gap(tower(ids), tokens.mean(dim=1)) < 1e-6


def test_a_row_of_nothing_but_padding_gives_finite_numbers():
    assert torch.isfinite(MEAN(torch.zeros(2, 12, dtype=torch.long))).all()


def test_eos_and_argmax_agree_where_eos_is_the_highest_id():
    ids = padded([[5, 6], [], [9] * 7], 9, eos=EOS)
    eos = TextTransformer(dataclasses.replace(clip_towers().text, pool="eos"))
    eos.load_state_dict(CAUSAL.state_dict())
    assert torch.equal(eos.eval()(ids), CAUSAL(ids))


SEEING = {
    "siglip, clipa": siglip_towers().text,
    "mobileclip, not causal": dataclasses.replace(siglip_towers().text, pool="argmax"),
    "not causal, eos": dataclasses.replace(siglip_towers().text, pool="eos"),
    "last of a causal one": dataclasses.replace(clip_towers().text, pool="last"),
    "last, padding masked": dataclasses.replace(tiny_towers().text, pool="last", context_length=9),
    "coca": dataclasses.replace(clip_towers().text, pool="cls"),
}


@pytest.mark.parametrize("config", SEEING.values(), ids=SEEING.keys())
def test_a_tower_that_sees_its_padding_must_have_all_of_it(config):
    tower = randomise(TextTransformer(config))
    with pytest.raises(ValueError, match="pad to 9 ids, got 5"):
        tower(padded([[5]], 5))
    assert tower(padded([[5]], 9)).shape == (1, tower.dim)


def test_a_tower_that_does_not_see_its_padding_says_so():
    seeing = [config.sees_padding for config in (*SEEING.values(), CAUSAL.config, MEAN.config)]
    assert seeing == [True] * len(SEEING) + [False, False]


def test_cocas_class_token_sees_the_first_padding_and_not_the_rest():
    """The released models were trained with the mask one position late (open_clip: `correct_cls_mask=False`)."""
    config = dataclasses.replace(clip_towers().text, pool="cls")
    tower, ids = randomise(TextTransformer(config)), torch.tensor([[5, 6, EOS, 0, 0, 0, 0, 0, 0]])
    expected = tower(ids)

    def effect(position: int) -> float:
        """How far the text's vector moves with what stands at that position."""
        before = tower.position[position].clone()
        tower.position[position] += torch.randn(16)
        moved = max_gap(tower(ids), expected)
        tower.position[position] = before
        return moved

    assert effect(3) > 1e-3  # the first of the padding
    assert [effect(position) for position in range(4, 9)] == [0.0] * 5
    assert effect(9) > 1e-3  # the class token's own


def test_cocas_class_token_sees_itself_only_beside_a_full_text():
    config = dataclasses.replace(clip_towers().text, pool="cls")
    full, short = torch.tensor([[*range(4, 12), EOS]]), torch.tensor([[*range(4, 11), EOS, 0]])
    seen = []
    hidden = TextTransformer(config)
    hidden.blocks[0].register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["mask"]), with_kwargs=True)
    for ids in (full, short):
        hidden(ids)
    masks = [mask[0, 0] for mask in seen]
    assert masks[0][-1].tolist() == [True] * 10
    assert masks[1][-1].tolist() == [True] * 9 + [False]
    assert not masks[0].triu(1).any()


def test_configurations_that_contradict_themselves_are_refused():
    sizes = {"vocab_size": 9, "context_length": 5}
    with pytest.raises(ValueError, match="needs mask_padding=True"):
        TextConfig(**sizes, pool="mean")
    with pytest.raises(ValueError, match="needs no padding mask"):
        TextConfig(**sizes, causal=True, mask_padding=True)
    with pytest.raises(ValueError, match="CoCa's, whose text is causal"):
        TextConfig(**sizes, pool="cls")
    with pytest.raises(ValueError, match="multiple of heads, got 10 and 4"):
        TextConfig(**sizes, width=10, heads=4)


def test_towers_meet_in_one_width_and_have_unit_norm():
    config = siglip_towers()
    with pytest.raises(ValueError, match="image 24, text 16"):
        TwoTower(dataclasses.replace(config, text=dataclasses.replace(config.text, projection=16)))
    towers = random_towers(config)
    for vectors in (towers.encode_image(torch.randn(3, 3, 32, 32)), towers.encode_text(padded([[5]] * 3, 9))):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    fresh = TwoTower(config)
    assert float(fresh.logit_scale.detach()) == pytest.approx(10.0)
    assert float(fresh.logit_bias.detach()) == -10.0
