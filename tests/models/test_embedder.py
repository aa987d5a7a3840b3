"""A vector belongs to its picture or text, whatever else is in the batch and in whichever precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import BOS, EOS, clip_towers, pictures, random_towers, siglip_towers, tiny_towers, tokenizer_json
from tokenizers import Tokenizer as Backend

from diptych.core.types import EmbedderSpec
from diptych.inputs.image import Preprocessing
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy
from diptych.models import embedder
from diptych.models.checkpoints.efficientnet_lite0 import load_imagenet
from diptych.models.config import EfficientNetConfig, TwoTowerConfig
from diptych.models.embedder import TorchEmbedder


def embedder_of(config: TwoTowerConfig, bf16: bool = False) -> TorchEmbedder:
    clip = config.text.causal
    policy = TokenizerPolicy(length=config.text.context_length, cleaning="lower", eos_id=EOS if clip else 1,
                             bos_id=BOS if clip else None)
    spec = EmbedderSpec(name="random", fingerprint="0" * 64, dim=config.text.projection or config.text.width,
                        image_size=32, languages=("en",), score_kind="sigmoid", logit_scale=10.0, logit_bias=-10.0)
    return TorchEmbedder(random_towers(config), Tokenizer(Backend.from_str(tokenizer_json()), policy),
                         Preprocessing(size=32), spec, bf16=bf16)


FAMILIES = {"tiny": embedder_of(tiny_towers()), "siglip": embedder_of(siglip_towers()),
            "clip": embedder_of(clip_towers())}
PICTURES = pictures(9)
WORDS = ["a red boat", "", "赤い果物", "una fruta roja", "the cat and the dog and the boat", "dog", "b", "cat"]

TOLERANCE = 1e-5  # other batch shapes take other kernels, which add in another order


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_vectors_do_not_depend_on_their_batch(family, data):
    model = FAMILIES[family]
    rows = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=8))
    for embed, inputs in ((model.embed_texts, WORDS), (model.embed_images, PICTURES)):
        together = embed([inputs[row] for row in rows])
        alone = np.concatenate([embed([inputs[row]]) for row in rows])
        np.testing.assert_allclose(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_float32_of_unit_norm_and_tell_inputs_apart(family):
    model = FAMILIES[family]
    for vectors in (model.embed_texts(WORDS), model.embed_images(PICTURES)):
        assert vectors.dtype == np.float32 and vectors.shape[1] == model.spec.dim
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        assert (vectors @ vectors.T - np.eye(len(vectors))).max() < 0.9999


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_in_nothing_out(family):
    model = FAMILIES[family]
    assert model.embed_texts([]).shape == model.embed_images([]).shape == (0, model.spec.dim)


def test_long_inputs_are_cut_into_blocks_and_keep_their_order(monkeypatch):
    model = FAMILIES["tiny"]
    whole = model.embed_images(PICTURES), model.embed_texts(WORDS)
    monkeypatch.setattr(embedder, "IMAGE_BLOCK", 2)
    monkeypatch.setattr(embedder, "TEXT_BLOCK", 3)
    np.testing.assert_allclose(model.embed_images(PICTURES), whole[0], atol=TOLERANCE)
    np.testing.assert_allclose(model.embed_texts(WORDS), whole[1], atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_turns_no_picture_far(family):
    """8 bits of mantissa: a relative error of 2⁻⁹ in each factor, and a cosine error of the order of its square."""
    full = FAMILIES[family]
    half = embedder_of(full.towers.config, bf16=True)
    same = (half.embed_images(PICTURES) * full.embed_images(PICTURES)).sum(axis=1)
    assert same.min() > 0.9995
    assert not np.array_equal(half.embed_images(PICTURES), full.embed_images(PICTURES))
    np.testing.assert_array_equal(half.embed_texts(WORDS), full.embed_texts(WORDS))


def test_bfloat16_in_a_deep_convolutional_trunk_with_trained_weights():
    """50 layers add up: noise stays within 1e-3, pictures with little in them were seen to lose 0.08."""
    config = tiny_towers(EfficientNetConfig(image_size=224, hidden=None, projection=24))
    half, full = embedder_of(config, bf16=True), embedder_of(config, bf16=False)
    for model in (half, full):
        model.towers.image.trunk.load_state_dict(load_imagenet().trunk.state_dict())
        model.preprocessing = Preprocessing(size=224, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    assert (half.embed_images(PICTURES[:4]) * full.embed_images(PICTURES[:4])).sum(axis=1).min() > 0.998


def test_embedding_leaves_no_gradient_and_no_training_mode():
    model = embedder_of(tiny_towers())
    assert not model.towers.training
    model.embed_images(PICTURES[:1])
    assert torch.is_grad_enabled()
