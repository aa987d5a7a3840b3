"""Apple's files of the first MobileCLIP: our reading of them against open_clip's conversion, and its strictness."""

import hashlib
import re
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import open_clip, timm
from small_fastvit import SMALL, randomise_statistics, timm_fastvit
from small_towers import max_gap

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import keys
from diptych.models.checkpoints.maps.mobileclip import from_mobileclip, names, to_mobileclip
from diptych.models.config import FastVitConfig, TextConfig, TwoTowerConfig, VitConfig, mci
from diptych.models.two_tower import TwoTower

TOLERANCE = 1e-5  # float32: one convolution rounds differently from the sum of its branches


def towers_of(image: FastVitConfig | VitConfig, causal: bool, **text: Any) -> TwoTowerConfig:
    return TwoTowerConfig(
        image=image, init_logit_scale=1 / 0.07, init_logit_bias=None,
        text=TextConfig(causal=causal, pool="argmax", activation="gelu", projection=image.projection,
                        projection_bias=False, norm_eps=1e-5, **text))


TEXT = {"vocab_size": 90, "context_length": 12, "width": 32, "layers": 2, "heads": 4, "mlp_width": 128}
VIT = VitConfig(
    image_size=64, width=24, layers=2, heads=3, mlp_width=96, pool="cls", stem="conv", activation="gelu",
    projection=24, projection_bias=True)
TOWERS = {
    "FastViT": towers_of(SMALL["four stages"], causal=False, **TEXT),
    "ViT": towers_of(VIT, causal=True, **TEXT),
}


def apples(towers: TwoTowerConfig) -> dict[str, torch.Tensor]:
    """A file in Apple's layout with all branches and statistics random."""
    holder = torch.nn.Module()
    written = to_mobileclip(_no_bias(TwoTower(towers).state_dict()), towers)
    for key, tensor in written.items():
        holder.register_buffer(key.replace(".", "/"), tensor.detach().clone())
    randomise_statistics(holder)
    weights = {key.replace("/", "."): tensor for key, tensor in holder.state_dict().items()}
    return weights | {"logit_scale": torch.tensor(1.5)}


def _no_bias(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {"image.projection.bias": torch.zeros_like(state["image.projection.bias"])}


class Picture(torch.nn.Module):
    """open_clip's picture tower with a model of timm's that is smaller than any it can be asked for."""

    def __init__(self, trunk: torch.nn.Module):
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.trunk(pixels)


def open_clip_model(towers: TwoTowerConfig) -> torch.nn.Module:
    text = {"context_length": 12, "vocab_size": 90, "width": 32, "heads": 4, "layers": 2,
            "no_causal_mask": not towers.text.causal}
    vision = {"layers": 1, "width": 64, "image_size": 32, "patch_size": 32}  # replaced at once
    model = open_clip().model.CustomTextCLIP(24, vision, text)
    model.visual = Picture(timm_fastvit(towers.image) if isinstance(towers.image, FastVitConfig) else timm_vit())
    return model.eval()


def timm_vit() -> torch.nn.Module:
    timm()
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import ConvStem

    stem = ConvStem(channels=(6, 6, 24), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=torch.nn.GELU)
    return VisionTransformer(
        img_size=64, patch_size=1, embed_dim=24, depth=2, num_heads=3, no_embed_class=True, num_classes=24,
        global_pool="token", embed_layer=partial(HybridEmbed, backbone=stem, proj=False))


def convert(model: torch.nn.Module, weights: dict[str, torch.Tensor], towers: TwoTowerConfig):
    from open_clip.convert import convert_mobile_clip_state_dict

    return convert_mobile_clip_state_dict(model, weights, fastvit=isinstance(towers.image, FastVitConfig))


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
def test_apples_weights_give_what_open_clip_makes_of_them(towers):
    weights, theirs = apples(towers), open_clip_model(towers)
    theirs.load_state_dict(convert(theirs, weights, towers), strict=True)
    ours = TwoTower(towers).eval()
    ours.load_state_dict(from_mobileclip(weights, towers))
    pixels, ids = torch.randn(2, 3, 64, 64), torch.randint(1, 80, (3, 12))
    ids[0, 4], ids[0, 5:], ids[1:, -1] = 89, 0, 89
    with torch.inference_mode():
        assert max_gap(ours.image(pixels), theirs.encode_image(pixels)) < TOLERANCE
        assert max_gap(ours.text(ids), theirs.encode_text(ids)) < TOLERANCE
        assert float(ours.logit_scale) == pytest.approx(float(theirs.logit_scale.exp()))


PUBLISHED = {  # of the models that Apple's own code builds (ml-mobileclip 4144bb1): "key shape" lines, sorted
    "S1": (mci(1, 512), False, 1585,
           "481a274cad05f31553a49217caf1de9af80b245a87dd997be2f875e48c8a2b6b"),
    "S2": (mci(2, 512), False, 1721,
           "8b7953a94fc91bb6f2e25c46b45f88aca3e244c531b8985ecd65924d117f38d2"),
    "B": (VitConfig(pool="cls", stem="conv", activation="gelu", projection=512, projection_bias=True), True, 313,
          "356fa71992b360919f9cefa391e9778a1d4126763332041ae83541f3c6cda358"),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_published_files_have_these_keys_and_shapes(size):
    image, causal, count, digest = PUBLISHED[size]
    towers = towers_of(image, causal, vocab_size=49_408, context_length=77, width=512, layers=12, heads=8,
                       mlp_width=2048)
    state = {name: torch.zeros(()).expand(shape) for name, shape in keys.state_shapes(towers).items()}
    lines = sorted(f"{key} {list(tensor.shape)}" for key, tensor in to_mobileclip(state, towers).items())
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
def test_there_and_back_changes_nothing(towers):
    state = _no_bias({name: torch.randn(shape) for name, shape in keys.state_shapes(towers).items()})
    back = from_mobileclip(to_mobileclip(state, towers), towers)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


FILES = {name: apples(towers) for name, towers in TOWERS.items()}


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([(name, key) for name in FILES for key in FILES[name] if "num_batches" not in key]))
def test_every_key_must_be_there_and_of_its_shape(which):
    name, key = which
    weights = dict(FILES[name])
    shape = list(weights[key].shape)
    with pytest.raises(CheckpointError, match=re.escape(f"'{key}' has shape {[*shape, 2]}, expected {shape}")):
        from_mobileclip(weights | {key: torch.zeros(*shape, 2)}, TOWERS[name])
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack '{re.escape(key)}'"):
        from_mobileclip(weights, TOWERS[name])


@pytest.mark.parametrize("name", FILES)
def test_unknown_keys_are_named(name):
    with pytest.raises(CheckpointError, match=r"text_encoder\.transformer\.2\.pre_norm_mha\.0\.weight"):
        from_mobileclip(FILES[name] | {"text_encoder.transformer.2.pre_norm_mha.0.weight": torch.ones(32)},
                        TOWERS[name])


def test_the_first_s0_is_refused_with_what_to_take_instead():
    """Its text tower is of the kind "mct": RepMixer, four transformer blocks, RepMixer."""
    weights = FILES["FastViT"] | {"text_encoder.transformer.0.token_mixer.layer_scale": torch.ones(32, 1, 1)}
    with pytest.raises(CheckpointError, match=r"the first MobileCLIP-S0.*take that"):
        from_mobileclip(weights, TOWERS["FastViT"])


def test_towers_that_the_layout_cannot_hold_are_the_callers_mistake():
    plain = VitConfig(image_size=32, width=24, layers=1, heads=3, mlp_width=48, projection=24)
    with pytest.raises(ValueError, match="a ViT with a convolutional stem"):
        names(towers_of(plain, causal=False, **TEXT))
    towers = TOWERS["FastViT"]
    with pytest.raises(ValueError, match=r"image\.projection\.bias is not zero"):
        to_mobileclip(TwoTower(towers).state_dict(), towers)
