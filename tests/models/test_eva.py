"""The EVA tower against timm's `Eva` on the same weights, alone and in open_clip; its rotary table; its key map."""

import dataclasses
import functools
import re
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import open_clip, timm
from small_towers import max_gap, random_towers, randomise

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import keys
from diptych.models.checkpoints.maps.eva import names
from diptych.models.checkpoints.maps.open_clip import from_open_clip, to_open_clip
from diptych.models.config import EvaConfig, TextConfig, TwoTowerConfig
from diptych.models.eva import Eva, rotary
from diptych.models.two_tower import TwoTower
from diptych.models.vit import resize_positions

TOLERANCE = 1e-5  # float32: packed or separate products, and multiply-and-add in one step, round by about 1e-6

EVA02 = EvaConfig(image_size=32, patch_size=8, width=24, layers=2, heads=2, mlp_width=64, rope_grid=5, projection=20)
EVA01 = dataclasses.replace(EVA02, heads=3, mlp_width=36, rope=False, swiglu=False, inner_norm=False)
PE = EvaConfig(
    image_size=40, patch_size=8, width=24, layers=2, heads=3, mlp_width=96, pool="map", rope_grid=5, rope_offset=1.0,
    rope_order="xy", swiglu=False, inner_norm=False, pre_norm=True, key_bias=True, projection=20, norm_eps=1e-5)

FAMILIES = {
    "EVA01-g": EVA01,
    "EVA02-B": EVA02,
    "EVA02-L-336": dataclasses.replace(EVA02, image_size=59, rope_grid=4, layers=1),  # 7×7, and trailing pixels
    "EVA02-E": dataclasses.replace(EVA01, post_norm=True),
    "PE-Core-B": PE,
    "PE-Core-bigG": dataclasses.replace(PE, cls_token=False, rope_offset=0.0, mlp_width=60, image_size=24, rope_grid=3),
    "SwiGLU without norms": dataclasses.replace(EVA02, inner_norm=False),  # of EVA02's own parts, in none of the CLIPs
    "inner norm without SwiGLU": dataclasses.replace(EVA02, swiglu=False, heads=6),
}


def published_trunk(c: EvaConfig, **changes):
    """timm's model with the flags of the published ones."""
    models = timm().models.eva
    return models.Eva(**{
        "img_size": c.image_size, "patch_size": c.patch_size, "embed_dim": c.width, "depth": c.layers,
        "num_heads": c.heads, "mlp_ratio": c.mlp_width / c.width, "num_classes": c.projection,
        "global_pool": "map" if c.pool == "map" else "token", "attn_type": "rope" if c.key_bias else "eva",
        "qkv_fused": not c.inner_norm, "swiglu_mlp": c.swiglu, "scale_mlp": c.inner_norm and c.swiglu,
        "scale_attn_inner": c.inner_norm, "use_rot_pos_emb": c.rope, "ref_feat_shape": (c.rope_grid, c.rope_grid),
        "rope_grid_offset": c.rope_offset, "rope_grid_indexing": c.rope_order, "use_post_norm": c.post_norm,
        "use_pre_transformer_norm": c.pre_norm, "class_token": c.cls_token, "attn_pool_num_heads": c.pool_heads,
        "attn_pool_mlp_ratio": 4.0, "norm_layer": functools.partial(models.LayerNorm, eps=c.norm_eps)} | changes)


def towers_of(image: EvaConfig) -> TwoTowerConfig:
    text = TextConfig(
        vocab_size=300, context_length=9, width=16, layers=2, heads=4, mlp_width=64, activation="gelu", causal=True,
        pool="argmax", eos_id=299, projection=image.projection, projection_bias=False, norm_eps=1e-5)
    return TwoTowerConfig(image=image, text=text, init_logit_scale=1 / 0.07, init_logit_bias=None)


def under_visual(tensors) -> dict[str, torch.Tensor]:
    return {f"visual.trunk.{name}": tensor for name, tensor in tensors.items()}


def noise(batch: int, size: int) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


def read_image(published, config: EvaConfig) -> dict[str, torch.Tensor]:
    return keys.read(published, names(config), keys.state_shapes(towers_of(config)), "open_clip_timm")


def opened(published, config: EvaConfig) -> Eva:
    """As the loader does it: built without memory, then given its tensors."""
    with torch.device("meta"):
        tower = Eva(config).eval().requires_grad_(False)
    state = {name.removeprefix("image."): tensor for name, tensor in read_image(published, config).items()}
    tower.load_state_dict(state, assign=True)
    return tower


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_features_and_tokens_are_timms(family, batch):
    config = FAMILIES[family]
    theirs = randomise(published_trunk(config))
    ours = opened(under_visual(theirs.state_dict()), config)
    pixels = noise(batch, config.image_size)
    with torch.inference_mode():
        assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE
        assert max_gap(ours.norm_post(ours.tokens(pixels)), theirs.forward_features(pixels)) < TOLERANCE
        [patches] = theirs.forward_intermediates(pixels, 1, output_fmt="NLC", intermediates_only=True)
        assert max_gap(ours.patch_tokens(pixels), patches) < TOLERANCE
    assert ours.dim == config.projection


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_timms(family):
    config = FAMILIES[family]
    theirs = randomise(published_trunk(config)).requires_grad_(True)
    ours = opened(under_visual(theirs.state_dict()), config).requires_grad_(True)
    pixels = noise(2, config.image_size)
    weight = torch.randn(2, config.projection, generator=torch.Generator().manual_seed(1))
    for tower in (ours, theirs):
        (tower(pixels) * weight).sum().backward()
    expected = read_image(under_visual({name: p.grad for name, p in theirs.named_parameters()}), config)
    for name, parameter in ours.named_parameters():
        # of sums over all tokens, in another order
        torch.testing.assert_close(parameter.grad, expected[f"image.{name}"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [24, 45, 64])
@pytest.mark.parametrize("family", ["EVA01-g", "EVA02-B", "PE-Core-B", "PE-Core-bigG"])
def test_another_image_size_resizes_learned_positions_and_stretches_rotary_ones(family, size):
    config, other = FAMILIES[family], dataclasses.replace(FAMILIES[family], image_size=size)
    theirs = randomise(published_trunk(config))
    published = under_visual(theirs.state_dict())
    position = resize_positions(theirs.pos_embed[0], other.grid, int(config.cls_token))[None]
    ours = opened(published | {"visual.trunk.pos_embed": position}, other)
    theirs.set_input_size(img_size=(size, size))
    theirs.pos_embed = torch.nn.Parameter(position)  # timm resizes them bicubically, we as NaFlex does
    pixels = noise(2, size)
    with torch.inference_mode():
        assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_changes_nothing_and_timm_opens_it(family):
    config = FAMILIES[family]
    theirs = randomise(published_trunk(config))
    published = under_visual(theirs.state_dict())
    written = keys.write(read_image(published, config), names(config))
    assert written.keys() == published.keys()
    assert all(torch.equal(written[key], published[key]) for key in published)

    ours = random_image(config)
    back = read_image(keys.write(ours, names(config)), config)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    trunk = {key.removeprefix("visual.trunk."): tensor for key, tensor in keys.write(ours, names(config)).items()}
    theirs.load_state_dict(trunk, strict=True)


def random_image(config: EvaConfig) -> dict[str, torch.Tensor]:
    state = {f"image.{name}": tensor for name, tensor in randomise(Eva(config), seed=1).state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("attention.in_proj.bias") and "blocks" in name and not config.key_bias:
            tensor[config.width : 2 * config.width] = 0
    return state


PUBLISHED_SMALL = {family: under_visual(published_trunk(FAMILIES[family]).state_dict())
                   for family in ("EVA01-g", "EVA02-B", "PE-Core-B")}


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([(family, key) for family in PUBLISHED_SMALL for key in PUBLISHED_SMALL[family]]))
def test_every_key_must_be_there_and_of_its_shape(which):
    family, key = which
    weights = dict(PUBLISHED_SMALL[family])
    shape = list(weights[key].shape)
    with pytest.raises(CheckpointError, match=re.escape(f"{key!r} has shape {[*shape, 2]}, expected {shape}")):
        read_image(weights | {key: torch.zeros(*shape, 2)}, FAMILIES[family])
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack {key!r}"):
        read_image(weights, FAMILIES[family])


@pytest.mark.parametrize(("family", "key"), [
    ("EVA02-B", "blocks.0.attn.k_proj.bias"),
    ("EVA01-g", "blocks.1.attn.k_bias"),
    ("PE-Core-B", "patch_embed.proj.bias"),
])
def test_keys_that_such_a_model_has_not_are_named(family, key):
    weights = PUBLISHED_SMALL[family] | {f"visual.trunk.{key}": torch.zeros(24)}
    with pytest.raises(CheckpointError, match=re.escape(f"visual.trunk.{key}")):
        read_image(weights, FAMILIES[family])


@pytest.mark.parametrize("family", ["EVA01-g", "EVA02-B", "EVA02-E"])
def test_a_key_bias_that_is_not_published_stays_zero_in_training(family):
    """With rotary positions it would learn; without, Adam would make steps of what rounding leaves of its gradient."""
    config = FAMILIES[family]
    tower = Eva(config)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in tower.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        tower(noise(2, 32)).square().sum().backward()
        optimizer.step()
    state = {f"image.{name}": tensor for name, tensor in tower.state_dict().items()}
    for block in range(config.layers):
        name = f"blocks.{block}.attention.in_proj.bias"
        q, k, v = (state[f"image.{name}"] - before[name]).chunk(3)
        assert q.all()
        assert not k.any()
        assert v.all()
    keys.write(state, names(config))
    state["image.blocks.0.attention.in_proj.bias"][config.width] = 0.1
    with pytest.raises(ValueError, match=r"image\.blocks\.0\.attention\.in_proj\.bias is not zero"):
        keys.write(state, names(config))


_EVA02_L = EvaConfig(patch_size=14, width=1024, layers=24, heads=16, mlp_width=2730, projection=768)
_EVA01_G = EvaConfig(patch_size=14, width=1408, layers=40, heads=16, mlp_width=6144, projection=1024, rope=False,
                     swiglu=False, inner_norm=False)
_EVA02_E = dataclasses.replace(_EVA01_G, width=1792, layers=64, mlp_width=15360, post_norm=True)
_PE_B = EvaConfig(
    image_size=224, patch_size=16, width=768, layers=12, heads=12, mlp_width=3072, pool="map", rope_grid=14,
    rope_offset=1.0, rope_order="xy", swiglu=False, inner_norm=False, pre_norm=True, key_bias=True, projection=1024,
    norm_eps=1e-5)
PUBLISHED = {
    "EVA01-g-14": _EVA01_G,
    "EVA01-g-14-plus": _EVA01_G,
    "EVA02-B-16": EvaConfig(),
    "EVA02-L-14": _EVA02_L,
    "EVA02-L-14-336": dataclasses.replace(_EVA02_L, image_size=336),
    "EVA02-E-14": _EVA02_E,
    "EVA02-E-14-plus": _EVA02_E,
    "PE-Core-T-16-384": dataclasses.replace(
        _PE_B, image_size=384, width=192, heads=3, mlp_width=768, rope_grid=24, projection=512),
    "PE-Core-S-16-384": dataclasses.replace(
        _PE_B, image_size=384, width=384, heads=6, mlp_width=1536, rope_grid=24, projection=512),
    "PE-Core-B-16": _PE_B,
    "PE-Core-L-14-336": dataclasses.replace(
        _PE_B, image_size=336, patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, rope_grid=24),
    "PE-Core-bigG-14-448": dataclasses.replace(
        _PE_B, image_size=448, patch_size=14, width=1536, layers=50, heads=16, mlp_width=8960, rope_grid=32,
        rope_offset=0.0, cls_token=False, projection=1280),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_models_have_these_shapes_numbers_and_rotations(model):
    config, declared = PUBLISHED[model], open_clip().get_model_config(model)
    vision = declared["vision_cfg"]
    with torch.device("meta"):
        theirs = timm().create_model(
            vision["timm_model_name"], num_classes=declared["embed_dim"], global_pool=vision["timm_pool"])
        ours = Eva(config)
        state = read_image(under_visual(theirs.state_dict()), config)  # which compares the shapes
    assert {f"image.{name}" for name in ours.state_dict()} == state.keys()

    block, attention = theirs.blocks[0], theirs.blocks[0].attn
    assert (config.image_size, config.layers) == (vision["image_size"], len(theirs.blocks))
    assert (config.heads, config.norm_eps) == (attention.num_heads, block.norm1.eps)
    assert config.post_norm == (type(block).__name__ == "EvaBlockPostNorm")
    if config.pool == "map":
        assert (config.pool_heads, config.norm_eps) == (theirs.attn_pool.num_heads, theirs.attn_pool.norm.eps)
    assert config.rope == (theirs.rope is not None)
    if config.rope:
        sin, cos = theirs.rope._get_pos_embed_values(theirs.rope.feat_shape).chunk(2, dim=-1)
        prefix = int(config.cls_token)
        assert theirs.num_prefix_tokens == prefix
        turn = rotary(config, torch.device("cpu"))
        assert torch.equal(turn[0, prefix:], cos)
        assert torch.equal(turn[1, prefix:], sin * torch.tensor([-1.0, 1.0]).repeat(sin.shape[1] // 2))
        assert torch.equal(turn[0, :prefix], torch.ones(prefix, cos.shape[1]))
        assert not turn[1, :prefix].any()


def test_the_smallest_published_tower_at_its_full_size():
    config = PUBLISHED["PE-Core-T-16-384"]
    theirs = timm().create_model("vit_pe_core_tiny_patch16_384", num_classes=512, global_pool="map").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():  # small steps from what timm begins with, where some are zero
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    ours = opened(under_visual(theirs.state_dict()), config)
    pixels = noise(1, 384)
    with torch.inference_mode():
        assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE


@pytest.mark.parametrize("family", ["EVA02-B", "EVA02-E", "PE-Core-B"])
def test_a_whole_model_of_open_clip(family):
    config = FAMILIES[family]
    towers, theirs = towers_of(config), custom_text_clip(config)
    published = theirs.state_dict()
    ours = random_towers(towers)
    ours.load_state_dict(from_open_clip(published, towers, "open_clip_timm"))
    pixels = noise(3, config.image_size)
    ids = torch.randint(1, 298, (3, 9))
    ids[:, 6], ids[:, 7:] = 299, 0
    with torch.inference_mode():
        assert max_gap(ours.encode_image(pixels), theirs.encode_image(pixels, normalize=True)) < TOLERANCE
        assert max_gap(ours.encode_text(ids), theirs.encode_text(ids, normalize=True)) < TOLERANCE
        assert torch.equal(ours.logit_scale, theirs.logit_scale.exp())
    written = to_open_clip(ours.state_dict(), towers, "open_clip_timm")
    assert written.keys() == published.keys()
    assert all(torch.equal(written[key], published[key]) for key in published)


def custom_text_clip(config: EvaConfig):
    """open_clip's model around timm's, which is small here instead of the one it asks for by name."""
    vision = {"timm_model_name": "eva", "timm_pool": "map" if config.pool == "map" else "token", "timm_proj": None,
              "image_size": config.image_size}
    text = {"context_length": 9, "vocab_size": 300, "width": 16, "heads": 4, "layers": 2}
    package = open_clip()

    def create_model(_name: str, pretrained: bool, **asked):
        assert not pretrained
        return published_trunk(config, **asked)

    with mock.patch.object(timm(), "create_model", create_model):
        theirs = package.model.CustomTextCLIP(embed_dim=config.projection, vision_cfg=vision, text_cfg=text)
    return randomise(theirs)


@pytest.mark.parametrize("family", ["EVA02-B", "PE-Core-B"])
def test_in_bfloat16_the_rotations_are_too(family):
    config = FAMILIES[family]
    tower = randomise(Eva(config))
    pixels = noise(2, config.image_size)
    with torch.inference_mode():
        exact = tower(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = tower(pixels)
        pure = tower.bfloat16()(pixels.bfloat16())
    assert mixed.dtype == pure.dtype == torch.bfloat16
    for rough in (mixed, pure):  # 8 bits of mantissa: each rounding is off by 0.4% at most
        assert torch.cosine_similarity(rough.float(), exact).min() > 0.999


COMPILED = """
import torch
from diptych.models.config import EvaConfig
from diptych.models.eva import Eva

for config in {configs}:
    tower, pixels = Eva(config).eval(), torch.randn(5, 3, config.image_size, config.image_size)
    with torch.no_grad():
        expected = tower(pixels)
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.export.export(tower, (pixels[:2],), dynamic_shapes=({{0: batch}},)).module()(pixels)
        whole = torch.compile(tower, backend="eager", fullgraph=True)(pixels)
    print(float((exported - expected).abs().max()), float((whole - expected).abs().max()))
"""


def test_it_exports_for_any_batch_and_compiles_whole():
    """In a process of its own: the shape checks of the tests would break the graph."""
    code = COMPILED.format(configs=[FAMILIES["EVA02-B"], FAMILIES["PE-Core-B"]])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    gaps = [float(gap) for gap in done.stdout.split()]
    assert len(gaps) == 4
    assert max(gaps) < 1e-6  # the same operations


@pytest.mark.parametrize(("changes", "message"), [
    ({"heads": 5}, "width must be a multiple of heads, got 24 and 5"),
    ({"heads": 4}, "a head's width must be a multiple of 4, got 6"),
    ({"cls_token": False}, "pool='cls' needs cls_token=True"),
    ({"pool": "map", "pool_heads": 7}, "width must be a multiple of pool_heads, got 24 and 7"),
    ({"image_size": 7}, "image_size 7 is smaller than patch_size 8"),
])
def test_a_tower_that_cannot_be_is_the_callers_mistake(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(EVA02, **changes)


def test_two_towers_hold_it():
    towers = TwoTower(towers_of(EVA02))
    assert isinstance(towers.image, Eva)
    assert towers.encode_image(noise(2, 32)).shape == (2, 20)
