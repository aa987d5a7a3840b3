"""The catalogue's facts against transformers' own defaults and the published files' sizes."""

import numpy as np
import pytest
import torch
from small_towers import pictures

from diptych.core.errors import ModelNotFound
from diptych.inputs.image import preprocess
from diptych.models.checkpoints import catalog
from diptych.models.checkpoints.huggingface import to_huggingface
from diptych.models.two_tower import TwoTower, count_parameters

NAMES = [entry.name for entry in catalog.CATALOGUE]


def on_meta(entry: catalog.Entry) -> TwoTower:
    with torch.device("meta"):
        return TwoTower(entry.towers)


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_consistent_with_itself(name):
    entry = catalog.get(name)
    towers = on_meta(entry)
    assert entry.parameters == count_parameters(towers) and entry.dim == towers.dim
    assert entry.preprocessing.size == entry.towers.image.image_size
    text, policy = entry.towers.text, entry.tokenizer
    assert (policy.length, policy.pad_id, policy.eos_id) == (text.context_length, text.pad_id, text.eos_id)
    assert (entry.score_kind == "sigmoid") == (towers.logit_bias is not None)
    assert entry.score_kind == "sigmoid" or entry.calibration, "softmax scores have no zero of their own"
    assert all(catalog.find(name) is entry for name in catalog.names_of(entry))
    assert len(set(entry.languages)) == len(entry.languages) > 0


def test_names_and_repositories_are_unique():
    known = [n for entry in catalog.CATALOGUE for n in catalog.names_of(entry)]
    assert len(set(known)) == len(known)
    with pytest.raises(ModelNotFound, match="nearest is 'clip-vit-base-patch32'"):
        catalog.get("ViT-clip-base-32")


def test_siglip_base_is_transformers_default_model():
    from transformers.models.siglip.configuration_siglip import SiglipConfig
    from transformers.models.siglip.modeling_siglip import SiglipModel

    config = SiglipConfig()
    with torch.device("meta"):
        theirs = shapes(SiglipModel(config).state_dict())
    entry = catalog.get("siglip-base-patch16-224")
    assert theirs == shapes(to_huggingface(on_meta(entry).state_dict(), entry.towers, entry.layout))
    for ours, published in ((entry.towers.image, config.vision_config), (entry.towers.text, config.text_config)):
        assert (ours.heads, ours.norm_eps) == (published.num_attention_heads, published.layer_norm_eps)
        assert ours.activation == "gelu_tanh" and published.hidden_act == "gelu_pytorch_tanh"
    assert entry.towers.text.pad_id == config.text_config.pad_token_id


def test_clip_base_is_transformers_default_model():
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    config = CLIPConfig()
    with torch.device("meta"):
        theirs = shapes(CLIPModel(config).state_dict())
    entry = catalog.get("clip-vit-base-patch32")
    assert theirs == shapes(to_huggingface(on_meta(entry).state_dict(), entry.towers, entry.layout))
    for ours, published in ((entry.towers.image, config.vision_config), (entry.towers.text, config.text_config)):
        assert (ours.heads, ours.norm_eps) == (published.num_attention_heads, published.layer_norm_eps)
        assert ours.activation == published.hidden_act == "quick_gelu"
    assert np.log(entry.towers.init_logit_scale) == pytest.approx(config.logit_scale_init_value, abs=1e-4)


def test_siglip_2_fills_its_published_file():
    """model.safetensors of google/siglip2-base-patch16-256 has 1,500,985,224 bytes: float32, and a header of 48 KiB."""
    entry = catalog.get("siglip2-base-patch16-256")
    header = 1_500_985_224 - 4 * entry.parameters
    keys = to_huggingface(on_meta(entry).state_dict(), entry.towers, entry.layout)
    assert 80 * len(keys) < header < 160 * len(keys)  # a name, a type, a shape and two offsets each


@pytest.mark.parametrize(("name", "processor"), [
    ("siglip-base-patch16-224", "siglip.image_processing_pil_siglip.SiglipImageProcessorPil"),
    ("clip-vit-base-patch32", "clip.image_processing_pil_clip.CLIPImageProcessorPil"),
])
def test_preprocessing_is_transformers(name, processor):
    import importlib

    module, _, kind = processor.rpartition(".")
    theirs = getattr(importlib.import_module(f"transformers.models.{module}"), kind)()
    for size in ((64, 40), (40, 64), (48, 48)):  # even margins: at odd ones HF crops a pixel beside OpenAI's crop
        picture = pictures(1)[0].resize(size)
        expected = theirs(picture, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(preprocess(picture, catalog.get(name).preprocessing), expected, atol=1e-5)
