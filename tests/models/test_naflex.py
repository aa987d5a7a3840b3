"""The native-aspect tower against transformers' Siglip2Model and timm's NaFlexVit on the same weights."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reference import timm
from safetensors.torch import load_file
from small_towers import max_gap, random_towers, randomise
from transformers.models.siglip2.configuration_siglip2 import Siglip2Config
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
from transformers.models.siglip2.modeling_siglip2 import Siglip2Model

from diptych.core.errors import CheckpointError
from diptych.inputs.naflex import NaflexPreprocessing, grid_for, pack
from diptych.models import naflex
from diptych.models.checkpoints.maps import keys
from diptych.models.checkpoints.maps.huggingface import from_huggingface, names, to_huggingface
from diptych.models.checkpoints.maps.naflex import timm_names
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.layers import Block
from diptych.models.naflex import NaflexVit, PackedPatches, attend_by_length, attend_varlen, plan_for
from diptych.models.two_tower import TwoTower, count_parameters
from diptych.models.vit import Vit

LAYOUT = "huggingface_siglip2"
TOLERANCE = 1e-5  # float32, two or three layers: masked and packed attention round differently, by about 1e-6
SIZES = [(40, 40), (90, 30), (1, 1), (300, 8), (30, 90), (8, 300), (31, 47), (20, 120), (65, 64)]


def small(**changes) -> TwoTowerConfig:
    size = {"patch_size": 8, "grid": 4, "max_patches": 24, "width": 24, "layers": 2, "heads": 3, "mlp_width": 40,
            "activation": "gelu_tanh"} | changes
    shared = {key: size[key] for key in ("width", "layers", "heads", "mlp_width", "activation")}
    return TwoTowerConfig(image=NaflexConfig(**size),
                          text=TextConfig(vocab_size=120, context_length=9, projection=size["width"], **shared))


CASES = {
    "plain": small(),
    "odd grid, wider": small(grid=5, patch_size=4, max_patches=40, width=32, heads=4, layers=3),
    "erf gelu, few patches": small(activation="gelu", grid=3, max_patches=6, layers=1),
}
towers_of = pytest.mark.parametrize("towers", CASES.values(), ids=CASES.keys())


def huggingface(towers: TwoTowerConfig) -> Siglip2Model:
    return randomise(Siglip2Model(huggingface_config(towers)))


def huggingface_config(towers: TwoTowerConfig) -> Siglip2Config:
    def sizes(tower):
        activation = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}[tower.activation]
        return {"hidden_size": tower.width, "intermediate_size": tower.mlp_width, "num_hidden_layers": tower.layers,
                "num_attention_heads": tower.heads, "layer_norm_eps": tower.norm_eps, "hidden_act": activation}

    image, text = towers.image, towers.text
    return Siglip2Config(
        text_config=sizes(text) | {"vocab_size": text.vocab_size, "max_position_embeddings": text.context_length,
                                   "projection_size": text.projection, "bos_token_id": 0, "eos_token_id": 1},
        vision_config=sizes(image) | {"patch_size": image.patch_size, "num_patches": image.grid**2})


def preprocessing(config: NaflexConfig) -> NaflexPreprocessing:
    return NaflexPreprocessing(patch_size=config.patch_size, max_patches=config.max_patches)


def noise(sizes) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (high, wide, 3), np.uint8)) for wide, high in sizes]


def fair(config: NaflexConfig) -> list[Image.Image]:
    """Pictures without those of a single column of patches, whose positions transformers resizes wrongly on a CPU."""
    found = [picture for picture in noise(SIZES) if grid_for(*picture.size, preprocessing(config))[1] > 1]
    assert 5 <= len(found) < len(SIZES)
    return found


def packed(pictures, config: NaflexConfig) -> PackedPatches:
    return PackedPatches(*(torch.from_numpy(part) for part in pack(pictures, preprocessing(config))))


def padded(pictures, config: NaflexConfig) -> dict[str, torch.Tensor]:
    """As transformers wants them: padded to the budget, with a mask and the grids."""
    processor = Siglip2ImageProcessorPil(patch_size=config.patch_size, max_num_patches=config.max_patches)
    return dict(processor(images=pictures, return_tensors="pt"))


def opened(path, towers: TwoTowerConfig) -> TwoTower:
    with torch.device("meta"):
        ours = TwoTower(towers).eval().requires_grad_(False)
    ours.load_state_dict(from_huggingface(load_file(path), towers, LAYOUT), assign=True)
    return ours


@towers_of
@pytest.mark.parametrize("batch", [1, 9])
def test_a_saved_model_gives_the_vectors_and_logits_of_transformers(tmp_path, towers, batch):
    model = huggingface(towers)
    model.save_pretrained(tmp_path)
    ours = opened(tmp_path / "model.safetensors", towers)
    pictures = fair(towers.image)[-batch:]
    theirs, mine = padded(pictures, towers.image), packed(pictures, towers.image)
    assert batch == 1 or not theirs["pixel_attention_mask"].all()  # there is padding to be ignored
    ids = torch.randint(0, 120, (5, 9))
    with torch.inference_mode():
        want = model(input_ids=ids, **theirs)
        assert max_gap(ours.image(mine), model.get_image_features(**theirs).pooler_output) < TOLERANCE
        assert max_gap(ours.text(ids), model.get_text_features(ids).pooler_output) < TOLERANCE
        image, text = ours.encode_image(mine), ours.encode_text(ids)
    assert max_gap(image, want.image_embeds) < TOLERANCE
    assert max_gap(text, want.text_embeds) < TOLERANCE
    logits = ours.logit_scale * image @ text.T + ours.logit_bias
    assert max_gap(logits, want.logits_per_image) < 5 * TOLERANCE  # the scale is 4.5


@towers_of
def test_tokens_come_in_the_order_of_the_patches(towers):
    model = huggingface(towers)
    ours = random_towers(towers)
    ours.load_state_dict(from_huggingface(model.state_dict(), towers, LAYOUT))
    pictures = fair(towers.image)
    theirs, mine = padded(pictures, towers.image), packed(pictures, towers.image)
    with torch.inference_mode():
        want = model.vision_model(**theirs).last_hidden_state[theirs["pixel_attention_mask"].bool()]
        assert max_gap(ours.image.norm_post(ours.image.tokens(mine)), want) < TOLERANCE
        assert torch.equal(ours.image.patch_tokens(mine), ours.image.tokens(mine))


def test_gradients_are_those_of_transformers():
    towers = CASES["plain"]
    model = huggingface(towers).requires_grad_(True)
    ours = random_towers(towers).requires_grad_(True)
    ours.load_state_dict(from_huggingface(model.state_dict(), towers, LAYOUT))
    pictures = fair(towers.image)
    weight = torch.randn(len(pictures), ours.dim)
    (ours.image(packed(pictures, towers.image)) * weight).sum().backward()
    (model.get_image_features(**padded(pictures, towers.image)).pooler_output * weight).sum().backward()
    theirs = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    for name, want in from_huggingface(theirs, towers, LAYOUT).items():
        if name.startswith("image."):
            got = ours.get_parameter(name).grad
            # sums over all tokens: relative to the largest
            assert max_gap(got, want) < 1e-5 * max(1.0, float(want.abs().max())), name


@towers_of
def test_our_weights_written_in_their_layout_load_there_strictly(towers):
    ours, theirs = random_towers(towers, seed=1), huggingface(towers)
    theirs.load_state_dict(to_huggingface(ours.state_dict(), towers, LAYOUT), strict=True)
    pictures = fair(towers.image)
    with torch.inference_mode():
        want = theirs.get_image_features(**padded(pictures, towers.image)).pooler_output
        assert max_gap(ours.image(packed(pictures, towers.image)), want) < TOLERANCE


@towers_of
def test_there_and_back_changes_nothing(towers):
    state = random_towers(towers).state_dict()
    back = from_huggingface(to_huggingface(state, towers, LAYOUT), towers, LAYOUT)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


PUBLISHED = to_huggingface(random_towers(CASES["plain"]).state_dict(), CASES["plain"], LAYOUT)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(PUBLISHED)))
def test_every_key_must_be_there_and_of_its_shape(key):
    weights, towers, shape = dict(PUBLISHED), CASES["plain"], list(PUBLISHED[key].shape)
    asked = "" if weights[key].numel() == 1 else f" has shape {[*shape, 2]}, expected {shape}"  # [1] stands for []
    with pytest.raises(CheckpointError, match=re.escape(f"'{key}'{asked}")):
        from_huggingface(weights | {key: torch.zeros(*shape, 2)}, towers, LAYOUT)
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack '{key}'"):
        from_huggingface(weights, towers, LAYOUT)


def test_layouts_hold_the_towers_that_they_are_of():
    with pytest.raises(ValueError, match=r"huggingface_siglip holds a plain ViT .* not naflex"):
        names(small(), "huggingface_siglip")
    plain = dataclasses.replace(small(), image=VitConfig(image_size=32, patch_size=8, width=24, heads=3))
    with pytest.raises(ValueError, match=r"huggingface_siglip2 holds a NaFlex ViT .* not vit"):
        names(plain, LAYOUT)


@pytest.mark.parametrize("width, layers, heads, mlp_width", [(768, 12, 12, 3072), (1152, 27, 16, 4304)])
def test_published_sizes_have_the_shapes_of_transformers(width, layers, heads, mlp_width):
    sizes = {"width": width, "layers": layers, "heads": heads, "mlp_width": mlp_width}
    towers = TwoTowerConfig(
        image=NaflexConfig(**sizes),
        text=TextConfig(vocab_size=256_000, context_length=64, projection=width, **sizes))
    with torch.device("meta"):
        model = Siglip2Model(huggingface_config(towers))
        ours = TwoTower(towers)
    read = from_huggingface(model.state_dict(), towers, LAYOUT)
    assert {name: t.shape for name, t in read.items()} == {name: t.shape for name, t in ours.state_dict().items()}
    assert count_parameters(ours) == sum(p.numel() for p in model.parameters())


def timm_trunk(config: NaflexConfig):
    trunk = timm().create_model(
        "naflexvit_base_patch16_siglip", patch_size=config.patch_size, embed_dim=config.width, depth=config.layers,
        num_heads=config.heads, mlp_ratio=config.mlp_width / config.width, num_classes=0, act_layer=config.activation,
        pos_embed_grid_size=(config.grid, config.grid),
        pos_embed_interp_mode="bilinear")  # its own choice is bicubic, that of SigLIP 2's authors is not
    return randomise(trunk)


@pytest.mark.parametrize("name", ["plain", "odd grid, wider"])
def test_timms_trunk_gives_the_same_features(name):
    towers = CASES[name]
    config, trunk = towers.image, timm_trunk(towers.image)
    published = {f"visual.trunk.{key}": value for key, value in trunk.state_dict().items()}
    shapes = {key: shape for key, shape in keys.state_shapes(towers).items() if key.startswith("image.")}
    state = keys.read(published, timm_names(config), shapes, "open_clip_timm")
    ours = NaflexVit(config).eval().requires_grad_(False)
    ours.load_state_dict({key.removeprefix("image."): value for key, value in state.items()})

    pictures = noise(SIZES)
    theirs, mine = padded(pictures, config), packed(pictures, config)
    place = torch.zeros(len(pictures), config.max_patches, 2, dtype=torch.long)
    for i, (rows, columns) in enumerate(mine.grids.tolist()):
        place[i, : rows * columns] = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    with torch.inference_mode():
        want = trunk({"patches": theirs["pixel_values"], "patch_coord": place,
                      "patch_valid": theirs["pixel_attention_mask"].bool()})
        assert max_gap(ours(mine), want) < TOLERANCE

    back = keys.write(state, timm_names(config))
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in back)


def triangles(old: int, new: int) -> np.ndarray:
    """What antialiased bilinear resizing is, for one axis [new, old]: a triangle around each new centre, as wide as
    the coarser grid's step. As jax.image.scale_and_translate defines it, with which SigLIP 2 was trained."""
    step = old / new
    distance = np.abs(np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * step) / max(1.0, step)
    weight = np.maximum(0, 1 - distance)
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rows, columns", [(1, 1), (24, 1), (1, 24), (2, 1), (8, 3), (3, 8), (5, 5), (40, 30)])
@pytest.mark.parametrize("side", [1, 4, 5, 16])
def test_positions_are_resized_as_defined(side, rows, columns):
    position = torch.randn(side * side, 6)
    want = np.einsum("yi,xj,ijc->yxc", triangles(side, rows), triangles(side, columns),
                     position.reshape(side, side, 6).double().numpy()).reshape(rows * columns, 6)
    got = naflex.grid_positions(position, rows, columns).numpy()
    assert np.abs(got - want).max() < 5e-6  # torch places the triangles in float32


def test_a_picture_gives_the_same_vector_in_any_batch_and_order():
    towers = random_towers(CASES["odd grid, wider"])
    pictures, config = noise(SIZES), towers.image.config
    together = towers.encode_image(packed(pictures, config))
    alone = torch.cat([towers.encode_image(packed([picture], config)) for picture in pictures])
    assert max_gap(together, alone) < 1e-6  # matrix products of other sizes round otherwise
    backwards = towers.encode_image(packed(pictures[::-1], config)).flip(0)
    assert max_gap(together, backwards) < 1e-6


def test_square_pictures_are_those_of_the_tower_at_a_fixed_resolution():
    config = CASES["plain"].image
    fixed = randomise(Vit(VitConfig(image_size=32, patch_size=8, width=24, layers=2, heads=3, mlp_width=40)))
    ours = NaflexVit(config).eval().requires_grad_(False)
    ours.load_state_dict(fixed.state_dict())
    pixels = torch.randn(3, 3, 32, 32)
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(-1, 8 * 8 * 3)
    assert max_gap(ours(PackedPatches(patches, torch.full((3, 2), 4))), fixed(pixels)) < TOLERANCE


def slow_varlen(q, k, v, q_offsets, k_offsets, max_q, max_k):
    """What torch.nn.attention.varlen computes, one sequence after the other in plain softmax; that takes a GPU."""
    assert q_offsets.dtype == k_offsets.dtype == torch.int32
    assert (max_q, max_k) == (int(q_offsets.diff().max()), int(k_offsets.diff().max()))
    out = torch.empty_like(q)
    for i in range(len(q_offsets) - 1):
        a, b, c, d = *q_offsets[i : i + 2].tolist(), *k_offsets[i : i + 2].tolist()
        scores = torch.einsum("qhd,khd->hqk", q[a:b], k[c:d]) / q.shape[-1] ** 0.5
        out[a:b] = torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v[c:d])
    return out


def test_attention_by_length_and_by_offsets_is_plain_attention(monkeypatch):
    monkeypatch.setattr(naflex, "varlen_attn", slow_varlen)
    batch = packed(noise(SIZES), CASES["plain"].image)
    plan = plan_for(batch)
    assert sum(count for count, _ in plan.patches.runs) == len(SIZES) > len(plan.patches.runs) > 2
    q, k, v = torch.randn(3, len(batch.patches), 3, 8).unbind()
    for attend_to, queries in ((plan.patches, q), (plan.probes, q[: len(SIZES)])):
        by_length = attend_by_length(queries, k, v, attend_to, plan.patches)
        assert max_gap(by_length, attend_varlen(queries, k, v, attend_to, plan.patches)) < TOLERANCE


def test_a_packed_block_is_the_block_itself_on_each_sequence():
    block = randomise(Block(24, 3, 40, "gelu", 1e-6))
    plan = plan_for(PackedPatches(torch.zeros(21, 1), torch.tensor([[1, 5], [2, 3], [5, 2]])))
    x = torch.randn(21, 24)
    want = torch.cat([block(part[None])[0] for part in x.split([5, 6, 10])])
    assert max_gap(naflex.packed_block(block, x, plan.patches), want) < TOLERANCE


def test_what_follows_a_plan_can_be_exported():
    tower, batch = random_towers(CASES["plain"]).image, packed(noise(SIZES), CASES["plain"].image)
    plan = plan_for(batch)

    class Planned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = tower

        def forward(self, patches):
            return self.tower.pooled(self.tower.encode(patches, plan), plan)

    exported = torch.export.export(Planned(), (batch.patches,)).module()
    assert max_gap(exported(batch.patches), tower(batch)) < TOLERANCE


def test_half_precision_weights_and_positions():
    towers = random_towers(CASES["plain"])
    batch = packed(noise(SIZES), towers.image.config)
    want = towers.encode_image(batch)
    half = TwoTower(towers.config).eval().requires_grad_(False).bfloat16()
    half.load_state_dict(towers.state_dict())
    got = half.encode_image(batch._replace(patches=batch.patches.bfloat16()))
    assert got.dtype == torch.bfloat16
    assert torch.cosine_similarity(got.float(), want).min() > 0.999  # eight bits of mantissa


def test_no_picture_and_wrong_grids():
    tower = random_towers(CASES["plain"]).image
    assert tower(packed([], tower.config)).shape == (0, 24)
    with pytest.raises(ValueError, match=r"the grids \[\(2, 3\)\] make 6 patches, the batch has 5"):
        tower(PackedPatches(torch.zeros(5, 192), torch.tensor([[2, 3]])))
    with pytest.raises(ValueError, match="make 0 patches, the batch has 0"):
        tower(PackedPatches(torch.zeros(0, 192), torch.tensor([[0, 3]])))
    with pytest.raises(ValueError, match="15 positions do not form a square grid"):
        naflex.grid_positions(torch.zeros(15, 4), 2, 2)
