"""Text towers of transformers against open_clip's `HFTextEncoder`: values, lengths, key maps, the meta device."""

import dataclasses
import json
import re
import sys

import pytest
import torch
from reference import open_clip
from small_towers import max_gap, randomise

from diptych.core import config as configs
from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import keys, transformers_text
from diptych.models.checkpoints.maps.open_clip import from_open_clip, to_open_clip
from diptych.models.checkpoints.published.text import (
    MT5_BASE,
    NLLB_1_3B,
    NLLB_600M,
    ROBERTA_BASE,
    XLM_ROBERTA_BASE,
    XLM_ROBERTA_LARGE,
)
from diptych.models.config import TransformersTextConfig, TwoTowerConfig, VitConfig
from diptych.models.text import encode_by_length
from diptych.models.transformers_text import TransformersText
from diptych.models.two_tower import TwoTower

TOLERANCE = 1e-5  # float32; in one batch the bits are the same, in another the products round differently

BERT = {"num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40, "max_position_embeddings": 30,
        "layer_norm_eps": 1e-5, "type_vocab_size": 1}
SMALL = {
    "xlm-roberta, mean, mlp": TransformersTextConfig(
        model_type="xlm-roberta", vocab_size=90, width=24, projection=20, projection_hidden=22, settings=BERT),
    "roberta, cls, linear": TransformersTextConfig(
        model_type="roberta", vocab_size=90, width=24, pool="cls", projection=16, settings=BERT),
    "mt5, mean, mlp": TransformersTextConfig(
        model_type="mt5", vocab_size=90, width=24, pad_id=0, eos_id=1, projection=20, projection_hidden=22,
        settings={"d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8,
                  "feed_forward_proj": "gated-gelu"}),
    "m2m_100, cls, linear": TransformersTextConfig(
        model_type="m2m_100", vocab_size=90, width=24, pool="cls", projection=20,
        settings={"encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 40,
                  "max_position_embeddings": 30, "scale_embedding": True, "activation_function": "relu"}),
    "xlm-roberta, no projection": TransformersTextConfig(
        model_type="xlm-roberta", vocab_size=90, width=24, projection=None, settings=BERT),
}
each = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)


def reference(config, folder) -> torch.nn.Module:
    """open_clip's tower of the same configuration, every parameter random, from a config.json as on the hub."""
    width = "hidden_size" if config.model_type in ("xlm-roberta", "roberta") else "d_model"
    about = {"model_type": config.model_type, "vocab_size": config.vocab_size, width: config.width,
             "pad_token_id": config.pad_id, "eos_token_id": config.eos_id, "decoder_attention_heads": 3,
             **config.settings}
    (folder / "config.json").write_text(json.dumps(about))
    hf_model = open_clip().hf_model
    project = {None: None if config.projection is None else "linear"}.get(config.projection_hidden, "mlp")
    model = hf_model.HFTextEncoder(
        str(folder), config.projection or config.width, proj_type=project, pretrained=False,
        pooler_type={"mean": "mean_pooler", "cls": "cls_last_hidden_state_pooler"}[config.pool])
    if config.model_type == "m2m_100":  # what the published NLLB-CLIPs ask for; they have no pooler to use
        assert isinstance(hf_model.HFTextEncoder(str(folder), 20, None, "cls_pooler", "linear", False).pooler,
                          hf_model.ClsPooler)
    return randomise(model)


def published(model) -> dict[str, torch.Tensor]:
    return {f"text.{key}": tensor for key, tensor in model.state_dict().items()}


def loaded(config, model) -> TransformersText:
    """Our tower with the reference's weights, built as the loader does: on the meta device, then assigned."""
    with torch.device("meta"):
        ours = TransformersText(config).requires_grad_(False)
    shapes = {f"text.{key}": tuple(tensor.shape) for key, tensor in ours.state_dict().items()}
    state = keys.read(published(model), transformers_text.names(config), shapes, "open_clip_custom")
    ours.load_state_dict({key.removeprefix("text."): tensor for key, tensor in state.items()}, assign=True)
    return ours.eval()


def ids(config, batch: int, length: int) -> torch.Tensor:
    """Texts of several lengths, one of them without a single token of its own, one that fills the row."""
    out = torch.randint(3, config.vocab_size, (batch, length))
    for row, kept in enumerate(torch.randint(2, length, (batch,)).tolist()):
        out[row, kept - 1] = config.eos_id
        out[row, kept:] = config.pad_id
    out[0, 1:] = config.pad_id
    out[-1] = 5
    return out


@each
@pytest.mark.parametrize(("batch", "length"), [(2, 4), (5, 13), (3, 28)])
def test_the_features_are_open_clips(tmp_path, config, batch, length):
    model = reference(config, tmp_path)
    ours, tokens = loaded(config, model), ids(config, batch, length)
    with torch.inference_mode():
        assert max_gap(ours(tokens), model(tokens)) < TOLERANCE
    assert ours.dim == model.output_dim and not any(buffer.is_meta for buffer in ours.buffers())


@each
def test_a_text_has_the_same_vector_at_every_length_and_beside_every_other(tmp_path, config):
    ours, tokens = loaded(config, reference(config, tmp_path)), ids(config, 6, 20)
    with torch.inference_mode():
        together = ours(tokens)
        bucketed = encode_by_length(ours, tokens, config.pad_id, buckets=3)
        alone = torch.cat([ours(row[None, : int((row != config.pad_id).sum())]) for row in tokens])
    assert max_gap(together, bucketed) < TOLERANCE and max_gap(together, alone) < TOLERANCE
    assert not config.sees_padding


@each
def test_a_tower_built_with_memory_is_the_one_built_without(tmp_path, config):
    model = reference(config, tmp_path)
    ours, plain, tokens = loaded(config, model), TransformersText(config), ids(config, 3, 9)
    plain.load_state_dict(ours.state_dict())
    with torch.inference_mode():
        assert torch.equal(plain.eval()(tokens), ours(tokens))
    for name, table in plain.named_buffers():
        assert torch.equal(table, ours.get_buffer(name))


@each
def test_whole_models_make_the_round_trip_and_their_keys_are_checked(tmp_path, config):
    towers = TwoTowerConfig(
        image=VitConfig(image_size=16, patch_size=8, width=24, layers=1, heads=3, mlp_width=40, pool="cls",
                        pre_norm=True, patch_bias=False, projection=config.projection or config.width, norm_eps=1e-5),
        text=config, init_logit_bias=None)
    state = randomise(TwoTower(towers)).state_dict()
    there = to_open_clip(state, towers, "open_clip_custom")
    assert published(reference(config, tmp_path)).keys() == {key for key in there if key.startswith("text.")}
    stored = {name: torch.arange(4)[None] for name in transformers_text.TABLES}  # older versions of transformers did
    back = from_open_clip(there | stored, towers, "open_clip_custom")
    assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)
    for key in [key for key in there if key.startswith("text.")][:: 7]:
        with pytest.raises(CheckpointError, match=re.escape(f"lack '{key}'")):
            from_open_clip({k: v for k, v in there.items() if k != key}, towers, "open_clip_custom")
        with pytest.raises(CheckpointError, match=re.escape(f"'{key}' has shape")):
            from_open_clip(there | {key: there[key][..., None]}, towers, "open_clip_custom")
    with pytest.raises(CheckpointError, match=r"text\.transformer\.pooler\.dense\.weight"):
        from_open_clip(there | {"text.transformer.pooler.dense.weight": torch.ones(1)}, towers, "open_clip_custom")
    with pytest.raises(ValueError, match="does not hold a text tower of transformers"):
        to_open_clip(state, towers, "open_clip")


def test_training_reaches_every_parameter(tmp_path):
    config = SMALL["xlm-roberta, mean, mlp"]
    tower = loaded(config, reference(config, tmp_path)).requires_grad_(True).train()
    tower(ids(config, 4, 9)).sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())


def test_a_configuration_makes_the_round_trip_as_json():
    for config in [*SMALL.values(), XLM_ROBERTA_BASE, NLLB_600M]:
        there = json.loads(json.dumps(configs.to_dict(config)))
        assert configs.from_dict(TransformersTextConfig, there) == config


@pytest.mark.parametrize(("config", "dim", "hidden", "millions"), [
    # open_clip, docs/model_profile.csv, text_mparams
    (XLM_ROBERTA_BASE, 512, 640, 278.27), (XLM_ROBERTA_LARGE, 1024, 1024, 560.94), (ROBERTA_BASE, 512, 640, 124.87),
    (MT5_BASE, 512, 640, 277.86), (NLLB_600M, 512, None, 414.04), (NLLB_600M, 768, None, 414.30),
    (NLLB_1_3B, 1024, None, 767.14), (NLLB_1_3B, 1152, None, 767.27)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(config, dim, hidden, millions):
    config = dataclasses.replace(config, projection=dim, projection_hidden=hidden)
    with torch.device("meta"):
        tower = TransformersText(config)
    assert round(sum(p.numel() for p in tower.parameters()) / 1e6, 2) == millions
    assert len(transformers_text.names(config)) == len(tower.state_dict())


def test_transformers_is_only_needed_for_such_a_tower(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"type mt5 .* `pip install 'diptych\[transformers\]'`"):
        TransformersText(SMALL["mt5, mean, mlp"])
