"""Our towers against open_clip's own models on the same weights, both ways; and the strictness of the key maps."""

import dataclasses
import functools
import json
import re
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import open_clip, timm
from small_towers import EOS, VOCABULARY, max_gap, random_towers
from torch import nn

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps.open_clip import from_open_clip, names, to_open_clip
from diptych.models.checkpoints.open_clip_config import from_model_cfg
from diptych.models.config import (
    EfficientNetConfig,
    EvaConfig,
    FastVitConfig,
    NaflexConfig,
    ResNetConfig,
    TextConfig,
    TransformersTextConfig,
    TwoTowerConfig,
    VitConfig,
)
from diptych.models.layers import activation
from diptych.models.two_tower import TwoTower

FULL_SIZE = [
    "ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14", "ViT-H-14-378-quickgelu",
    "ViT-g-14", "ViT-bigG-14", "ViT-H-14-worldwide-quickgelu", "ViT-bigG-14-CLIPA", "ViT-L-14-CLIPA-336",
    "coca_ViT-B-32", "coca_ViT-L-14", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-B-32-SigLIP2-256",
    "ViT-L-16-SigLIP2-512", "ViT-SO400M-14-SigLIP", "ViT-SO400M-14-SigLIP-384", "ViT-SO400M-16-SigLIP-i18n-256",
    "ViT-gopt-16-SigLIP2-256", "MobileCLIP-B", "MobileCLIP2-L-14",
]

TOLERANCE = 1e-5  # float32, two layers: the fused and the plain attention round differently, by about 1e-6


def towers(image=None, text=None, projection=20, **shared) -> TwoTowerConfig:
    """A small CLIP with open_clip's own picture tower, but for what is said."""
    shared = {"norm_eps": 1e-5, "activation": "gelu"} | shared
    picture = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "heads": 3, "mlp_width": 40, "pool": "cls",
               "pre_norm": True, "patch_bias": False, "projection": projection} | shared | (image or {})
    words = {"vocab_size": VOCABULARY, "context_length": 9, "width": 16, "layers": 2, "heads": 4, "mlp_width": 36,
             "causal": True, "pool": "argmax", "eos_id": EOS, "projection": projection,
             "projection_bias": False} | shared | (text or {})
    return TwoTowerConfig(image=VitConfig(**picture), text=TextConfig(**words), init_logit_bias=None)


def siglip(image=None, text=None, bias=True) -> TwoTowerConfig:
    """A small SigLIP as open_clip has it: timm's picture tower with MAP pooling, and no projection there."""
    flat = {"pool": "map", "pre_norm": False, "patch_bias": True, "projection": None, "width": 20, "heads": 2}
    words = {"causal": False, "pool": "last", "projection_bias": True}
    small = towers(flat | {"norm_eps": 1e-6} | (image or {}), words | {"norm_eps": 1e-6} | (text or {}))
    return dataclasses.replace(small, init_logit_bias=-10.0 if bias else None)


CLIPA = {"pool": "mean", "cls_token": True, "norm_after_pool": True, "pre_norm": False}
TOKEN_HEAD = {"projection_bias": True}
COCA_TEXT = {"pool": "cls"}

CASES = {
    "clip, quick gelu": ("open_clip", towers(activation="quick_gelu")),
    "clip, gelu, heads of 12, one layer": ("open_clip", towers({"heads": 2, "layers": 1}, {"layers": 1})),
    "clip, eos, other eps": ("open_clip", towers({"norm_eps": 1e-3}, {"pool": "eos", "norm_eps": 1e-2})),
    "clip, a bias of the logits": ("open_clip", dataclasses.replace(towers(), init_logit_bias=-10.0)),
    "clip, trailing pixels": ("open_clip", towers({"image_size": 35})),
    "clipa": ("open_clip", towers(CLIPA, {"causal": False, "pool": "last"})),
    "custom text, projection with bias": ("open_clip_custom", towers(text={"projection_bias": True})),
    "coca": ("open_clip_custom", towers({"pool": "query", "queries": 5, "query_heads": 2}, COCA_TEXT)),
    "siglip": ("open_clip_timm", siglip()),
    "siglip 2, tanh": ("open_clip_timm", siglip({"activation": "gelu_tanh", "heads": 4}, {"activation": "gelu_tanh"})),
    "siglip 2, tanh in the text only": ("open_clip_timm", siglip(text={"activation": "gelu_tanh"})),
    "siglip i18n, no text projection": ("open_clip_timm", siglip(text={"width": 20, "projection": None})),
    "siglip without bias of the logits": ("open_clip_timm", siglip(bias=False)),
    "mobileclip2-l-14": ("open_clip_timm", towers(TOKEN_HEAD, {"causal": False})),
    "mobileclip-b": ("open_clip_timm", towers(TOKEN_HEAD | {
        "stem": "conv", "patch_size": 16, "image_size": 48, "width": 768, "heads": 12, "mlp_width": 64, "layers": 1,
        "pre_norm": False, "norm_eps": 1e-6})),
}
EACH = pytest.mark.parametrize(("layout", "config"), CASES.values(), ids=CASES.keys())


def reference(layout: str, config: TwoTowerConfig) -> nn.Module:
    """open_clip's model of that configuration, every weight and statistic random."""
    package, image, text = open_clip(), config.image, config.text
    text_cfg = {
        "context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width, "heads": text.heads,
        "layers": text.layers, "mlp_ratio": text.mlp_width / text.width, "no_causal_mask": not text.causal,
        "pool_type": "argmax" if text.pool == "cls" else text.pool, "embed_cls": text.pool == "cls",
        "eos_id": text.eos_id, "pad_id": text.pad_id, "norm_kwargs": {"eps": text.norm_eps},
        "proj_bias": text.projection_bias, "proj_type": "linear" if text.projection else "none",
        "act_kwargs": {"approximate": "tanh"} if text.activation == "gelu_tanh" else None}
    vision_cfg = {
        "image_size": image.image_size, "patch_size": image.patch_size, "width": image.width, "layers": image.layers,
        "head_width": image.width // image.heads, "mlp_ratio": image.mlp_width / image.width,
        "no_ln_pre": not image.pre_norm, "pool_type": "avg" if image.pool == "mean" else "tok",
        "final_ln_after_pool": image.norm_after_pool, "norm_kwargs": {"eps": image.norm_eps},
        "attentional_pool": image.pool == "query", "attn_pooler_queries": image.queries,
        "attn_pooler_heads": image.query_heads}
    shared = {"embed_dim": text.projection or text.width, "quick_gelu": text.activation == "quick_gelu",
              "init_logit_bias": config.init_logit_bias}
    if image.pool == "query":
        decoder = {"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width,
                   "heads": text.heads, "layers": 1}
        vision_cfg["output_tokens"] = text_cfg["output_tokens"] = True
        return random_weights(package.coca_model.CoCa(
            vision_cfg=vision_cfg, text_cfg=text_cfg, multimodal_cfg=decoder, **shared))
    if layout != "open_clip_timm":
        kind = package.model.CLIP if layout == "open_clip" else package.model.CustomTextCLIP
        return random_weights(kind(vision_cfg=vision_cfg, text_cfg=text_cfg, **shared))
    variant = ("vit_base_mci_224" if image.stem == "conv" else "vit_base_patch16_siglip_224" if image.pool == "map"
               else "vit_large_patch14_clip_224")
    vision_cfg = {"timm_model_name": variant, "timm_pool": "map" if image.pool == "map" else "token",
                  "timm_proj": None if image.projection else "none"}
    sizes = {"img_size": image.image_size, "embed_dim": image.width, "depth": image.layers, "num_heads": image.heads,
             "mlp_ratio": image.mlp_width / image.width}
    if image.stem == "patch":
        sizes |= {"patch_size": image.patch_size, "act_layer": image.activation}
    with mock.patch.object(timm(), "create_model", functools.partial(timm().create_model, **sizes)):
        return random_weights(package.model.CustomTextCLIP(vision_cfg=vision_cfg, text_cfg=text_cfg, **shared))


@torch.no_grad()
def random_weights(model: nn.Module) -> nn.Module:
    """Every weight and statistic random, of a size that keeps the features near 1."""
    for parameter in model.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.weight += 1
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    model.logit_scale.fill_(1.5)
    return model.eval().requires_grad_(False)


def ours_of(model: nn.Module, layout: str, config: TwoTowerConfig) -> TwoTower:
    ours = TwoTower(config)
    ours.load_state_dict(from_open_clip(model.state_dict(), config, layout))
    return ours.eval().requires_grad_(False)


def texts(config: TwoTowerConfig, rows: int = 5) -> torch.Tensor:
    """Empty, full to the last position, with the padding's id inside, and two plain ones."""
    length = config.text.context_length
    ids = torch.zeros(5, length, dtype=torch.long)
    for row, count in enumerate((0, length - 2, 5, 1, 3)):
        ids[row, 0] = 3
        ids[row, 1 : count + 1] = torch.randint(4, EOS, (count,))
        ids[row, count + 1] = EOS
    ids[2, 2] = 0
    return ids[:rows]


def pixels(config: TwoTowerConfig, rows: int) -> torch.Tensor:
    return torch.randn(rows, 3, config.image.image_size, config.image.image_size)


@EACH
@pytest.mark.parametrize("batch", [1, 5])
def test_the_same_weights_give_the_features_vectors_and_logits_of_open_clip(layout, config, batch):
    model = reference(layout, config)
    ours, pictures, ids = ours_of(model, layout, config), pixels(config, batch), texts(config, batch)
    with torch.inference_mode():
        assert max_gap(ours.image(pictures), model.encode_image(pictures, normalize=False)) < TOLERANCE
        assert max_gap(ours.text(ids), model.encode_text(ids, normalize=False)) < TOLERANCE
        image, text = model.encode_image(pictures, normalize=True), model.encode_text(ids, normalize=True)
        assert max_gap(ours.encode_image(pictures), image) < TOLERANCE
        assert max_gap(ours.encode_text(ids), text) < TOLERANCE
    assert torch.equal(ours.log_scale, model.logit_scale)
    assert ours.logit_bias is model.logit_bias is None or torch.equal(ours.logit_bias, model.logit_bias)


@pytest.mark.parametrize("case", ["clip, quick gelu", "siglip 2, tanh", "coca", "mobileclip-b"])
def test_what_the_weights_do_not_say_is_in_the_vectors(case):
    """The comparison above would notice another activation or eps: the wrong one is far outside its tolerance."""
    layout, config = CASES[case]
    model = reference(layout, config)
    wrong = dataclasses.replace(
        config, image=dataclasses.replace(config.image, norm_eps=0.02),
        text=dataclasses.replace(config.text, activation="quick_gelu" if config.text.activation == "gelu" else "gelu"))
    ours, pictures, ids = ours_of(model, layout, wrong), pixels(config, 2), texts(config)
    with torch.inference_mode():
        assert max_gap(ours.image(pictures), model.encode_image(pictures, normalize=False)) > 20 * TOLERANCE
        assert max_gap(ours.text(ids), model.encode_text(ids, normalize=False)) > 20 * TOLERANCE


@EACH
def test_our_weights_written_in_their_layout_load_there_strictly(layout, config):
    ours, model = random_towers(config, seed=1), reference(layout, config)
    with torch.no_grad():  # weights of 0.3 would make the features of the wide tower enormous
        for parameter in ours.parameters():
            if parameter.ndim > 1:
                parameter.mul_(parameter[0].numel() ** -0.5)
    published = to_open_clip(ours.state_dict(), config, layout)
    if config.image.pool == "query":  # a dual encoder has no captioning decoder
        published |= {key: tensor for key, tensor in model.state_dict().items() if key.startswith("text_decoder.")}
    model.load_state_dict(published, strict=True)
    pictures, ids = pixels(config, 2), texts(config)
    with torch.inference_mode():
        assert max_gap(ours.encode_image(pictures), model.encode_image(pictures, normalize=True)) < TOLERANCE
        assert max_gap(ours.encode_text(ids), model.encode_text(ids, normalize=True)) < TOLERANCE


@EACH
def test_there_and_back_changes_nothing(layout, config):
    state = random_towers(config).state_dict()
    back = from_open_clip(to_open_clip(state, config, layout), config, layout)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@EACH
def test_files_of_either_prefix_are_read(layout, config):
    """The same CLIP is published with and without `text.`; CLIP and CustomTextCLIP convert it when they load."""
    published = to_open_clip(random_towers(config).state_dict(), config, layout)
    roots = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "cls_emb")
    other = {key.removeprefix("text.") if key.startswith("text.")
             else f"text.{key}" if key.startswith(roots) else key: tensor for key, tensor in published.items()}
    assert other.keys() != published.keys()
    read, again = (from_open_clip(weights, config, layout) for weights in (published, other))
    assert read.keys() == again.keys() and all(torch.equal(read[name], again[name]) for name in read)


OTHER_TOWERS = {
    "resnet": ("open_clip", ResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=8, heads=4, projection=20)),
    "resnet, custom text": (
        "open_clip_custom", ResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=8, heads=4, projection=20)),
    "eva": ("open_clip_timm", EvaConfig(
        image_size=32, patch_size=8, width=24, layers=2, heads=3, mlp_width=40, rope_grid=4, projection=20,
        swiglu=False, inner_norm=False, key_bias=True)),
    "fastvit": ("open_clip_timm", FastVitConfig(
        image_size=64, widths=(16, 32), depths=(1, 1), projection=20, gated_stages=1)),
    "naflex": ("open_clip_timm", NaflexConfig(
        patch_size=8, grid=4, max_patches=16, width=20, layers=1, heads=2, mlp_width=40)),
}


@pytest.mark.parametrize(("layout", "image"), OTHER_TOWERS.values(), ids=OTHER_TOWERS.keys())
def test_other_towers_go_there_and_back_beside_the_text(layout, image):
    """Their numbers are compared in the tests of their own names."""
    config = dataclasses.replace(towers(), image=image)
    state = random_towers(config).state_dict()
    published = to_open_clip(state, config, layout)
    assert {key.split(".")[0] for key in published} >= {"visual", "logit_scale"}
    back = from_open_clip(published, config, layout)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    other = "open_clip" if layout == "open_clip_timm" else "open_clip_timm"
    with pytest.raises(ValueError, match=f"{other} does not hold a picture tower like this"):
        names(config, other)


ROBERTA = TransformersTextConfig(
    model_type="roberta", vocab_size=50, width=16, projection=20, projection_hidden=18,
    settings={"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 12})


def test_a_text_tower_of_transformers_goes_there_and_back_beside_the_pictures():
    layout, config = "open_clip_custom", dataclasses.replace(towers(), text=ROBERTA)
    state = random_towers(config).state_dict()
    published = to_open_clip(state, config, layout)
    table = {"text.transformer.embeddings.position_ids": torch.arange(12)}  # of older versions
    back = from_open_clip(published | table, config, layout)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_published_architectures_have_the_shapes_heads_eps_and_activations_of_open_clip(name):
    """On the meta device, from open_clip's own model_configs: every key and shape, and what shapes do not say."""
    cfg = json.loads((Path(open_clip().__file__).parent / "model_configs" / f"{name}.json").read_text())
    config = from_model_cfg(cfg)
    layout = ("open_clip_timm" if "timm_model_name" in cfg["vision_cfg"]
              else "open_clip_custom" if cfg.pop("custom_text", False) else "open_clip")
    kind = (open_clip().coca_model.CoCa if "multimodal_cfg" in cfg
            else open_clip().model.CLIP if layout == "open_clip" else open_clip().model.CustomTextCLIP)
    cfg.pop("custom_text", None)
    with torch.device("meta"):
        theirs, ours = kind(**cfg), TwoTower(config)
    state = ours.state_dict()
    for key in state:  # a written BatchNorm is computed
        if "patch_embed" in key:
            state[key] = torch.zeros(state[key].shape)
    published = {key: tensor.shape for key, tensor in to_open_clip(state, config, layout).items()}
    assert published == {key: tensor.shape for key, tensor in theirs.state_dict().items() if "text_decoder." not in key}

    heads = {module.num_heads for module in theirs.visual.modules() if hasattr(module, "num_heads")}
    pools = {config.image.query_heads} if config.image.pool == "query" else set()
    assert heads == {config.image.heads} | pools
    text = theirs.transformer if layout == "open_clip" else theirs.text
    assert {module.num_heads for module in text.modules() if hasattr(module, "num_heads")} == {config.text.heads}
    for tower, declared in ((theirs.visual, config.image), (text, config.text)):
        assert {module.eps for module in tower.modules() if isinstance(module, nn.LayerNorm)} == {declared.norm_eps}
        x = torch.linspace(-3, 3, 7)
        acts = [m for m in tower.modules() if "GELU" in type(m).__name__.upper()]
        assert acts and all(torch.equal(act(x), activation(declared.activation)(x)) for act in acts)


def test_a_text_tower_that_is_there_twice_is_refused():
    layout, config = CASES["clip, quick gelu"]
    published = to_open_clip(random_towers(config).state_dict(), config, layout)
    with pytest.raises(CheckpointError, match=r"'ln_final\.bias' twice, with and without 'text\.'"):
        from_open_clip(published | {"text.ln_final.bias": torch.zeros(16)}, config, layout)


STRICT = {case: CASES[case] for case in ("clip, quick gelu", "coca", "siglip", "mobileclip-b")}
PUBLISHED = {case: to_open_clip(random_towers(config).state_dict(), config, layout)
             for case, (layout, config) in STRICT.items()}
COUNTER = "num_batches_tracked"


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([(case, key) for case in PUBLISHED for key in PUBLISHED[case] if COUNTER not in key]))
def test_every_key_must_be_there_and_of_its_shape(which):
    case, key = which
    (layout, config), weights = STRICT[case], dict(PUBLISHED[case])
    shape = list(weights[key].shape)
    with pytest.raises(CheckpointError, match=re.escape(f"'{key}' has shape {[*shape, 2]}, expected ")):
        from_open_clip(weights | {key: torch.zeros(*shape, 2)}, config, layout)
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack '{re.escape(key)}'"):
        from_open_clip(weights, config, layout)


@pytest.mark.parametrize("case", STRICT)
def test_unknown_keys_are_named_and_stored_buffers_are_not_weights(case):
    (layout, config), weights = STRICT[case], PUBLISHED[case]
    buffers = {("" if layout == "open_clip" else "text.") + "attn_mask": torch.zeros(9, 9)}
    assert "log_scale" in from_open_clip(weights | buffers, config, layout)
    for key in ("visual.trunk.reg_token", "visual.trunk.patch_embed.backbone.2.bn.weight", "text.extra", "head.bias"):
        with pytest.raises(CheckpointError, match=re.escape(key)):
            from_open_clip(weights | {key: torch.zeros(2)}, config, layout)


def test_a_captioning_decoder_is_left_out_for_coca_and_unknown_elsewhere():
    decoder = {"text_decoder.ln_final.weight": torch.zeros(16)}
    layout, config = CASES["coca"]
    assert from_open_clip(PUBLISHED["coca"] | decoder, config, layout).keys() == TwoTower(config).state_dict().keys()
    layout, config = CASES["siglip"]
    with pytest.raises(CheckpointError, match=r"text_decoder\.ln_final\.weight"):
        from_open_clip(PUBLISHED["siglip"] | decoder, config, layout)


def test_a_convolution_before_a_norm_has_no_bias():
    layout, config = CASES["mobileclip-b"]
    key = "visual.trunk.patch_embed.backbone.0.conv.bias"
    with pytest.raises(CheckpointError, match=rf"'{key}': a convolution before a BatchNorm has none"):
        from_open_clip(PUBLISHED["mobileclip-b"] | {key: torch.zeros(192)}, config, layout)


def test_a_layout_that_cannot_hold_the_towers_is_the_callers_mistake():
    with pytest.raises(ValueError, match=r"open_clip_timm does not hold .*pool='mean'"):
        names(CASES["clipa"][1], "open_clip_timm")
    with pytest.raises(ValueError, match=r"open_clip does not hold .*stem='conv'"):
        names(CASES["mobileclip-b"][1], "open_clip")
    with pytest.raises(ValueError, match=r"open_clip_custom does not hold .*efficientnet_lite0"):
        names(dataclasses.replace(towers(), image=EfficientNetConfig(projection=20)), "open_clip_custom")
    with pytest.raises(ValueError, match=r"differ in image\.cls_token"):
        names(siglip(), "open_clip")
    with pytest.raises(ValueError, match="open_clip does not hold a text tower of transformers'"):
        names(dataclasses.replace(towers(), text=ROBERTA), "open_clip")
    with pytest.raises(ValueError, match="native is not a layout of open_clip's"):
        names(siglip(), "native")
    with pytest.raises(ValueError, match="packs q, k and v where the pooled width is the tower's, 24"):
        names(towers({"pool": "query", "query_heads": 2}, COCA_TEXT, projection=24), "open_clip_custom")
    with pytest.raises(ValueError, match="not the state dict of these towers"):
        to_open_clip({}, towers(), "open_clip")
