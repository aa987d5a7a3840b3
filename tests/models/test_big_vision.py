"""big_vision's npz layout: against open_clip's and timm's readers of it, and against Flax's attention written out."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import open_clip, timm
from small_towers import max_gap, random_towers, randomise

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps.big_vision import from_big_vision, names, to_big_vision
from diptych.models.checkpoints.maps.huggingface import from_huggingface, to_huggingface
from diptych.models.checkpoints.maps.keys import state_shapes
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.naflex import PackedPatches

TOLERANCE = 1e-5  # float32, two layers: the fused and the plain attention round differently, by about 1e-6
SIZES = {"width": 24, "layers": 2, "heads": 3, "mlp_width": 40}
TEXT = TextConfig(vocab_size=120, context_length=9, projection=24, **SIZES)
SIGLIP = TwoTowerConfig(image=VitConfig(image_size=24, patch_size=8, **SIZES), text=TEXT)
CASES = {
    "siglip": SIGLIP,
    "twelve layers": dataclasses.replace(SIGLIP, image=VitConfig(image_size=16, patch_size=8, width=24, layers=12,
                                                                 heads=2, mlp_width=8)),
    "wider image (g-opt)": TwoTowerConfig(
        image=VitConfig(image_size=16, patch_size=8, width=32, layers=3, heads=4, mlp_width=40),
        text=dataclasses.replace(TEXT, projection=32)),
    "no text head (i18n)": dataclasses.replace(SIGLIP, text=dataclasses.replace(TEXT, projection=None)),
    "naflex": dataclasses.replace(SIGLIP, image=NaflexConfig(patch_size=8, grid=4, **SIZES)),
}
SQUARE = {name: towers for name, towers in CASES.items() if name != "naflex"}
each = pytest.mark.parametrize("towers", CASES.values(), ids=CASES.keys())
either = pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])


def save(path, published: dict[str, torch.Tensor]) -> None:
    np.savez(path, **{key: tensor.numpy() for key, tensor in published.items()})


def load(path) -> dict[str, torch.Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def open_clip_model(towers: TwoTowerConfig):
    """A CustomTextCLIP of that size with timm's ViT, as open_clip builds its SigLIPs."""
    image, text = towers.image, towers.text
    model = open_clip().model.CustomTextCLIP(
        embed_dim=text.projection or text.width, init_logit_bias=-10,
        vision_cfg={"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8},
        text_cfg={"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width,
                  "heads": text.heads, "layers": text.layers, "mlp_ratio": text.mlp_width / text.width,
                  "no_causal_mask": True, "pool_type": "last", "proj_type": "linear" if text.projection else "none",
                  "proj_bias": True, "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}})
    model.visual = torch.nn.Sequential()
    model.visual.trunk = timm().create_model(
        "vit_base_patch16_siglip_224", img_size=image.image_size, patch_size=image.patch_size, embed_dim=image.width,
        depth=image.layers, num_heads=image.heads, mlp_ratio=image.mlp_width / image.width, num_classes=0,
        act_layer="gelu_tanh")
    return randomise(model, seed=7)


@pytest.mark.parametrize("towers", SQUARE.values(), ids=SQUARE.keys())
@either
def test_open_clip_reads_what_we_write(tmp_path, towers, scan):
    ours, theirs = random_towers(towers, seed=1), open_clip_model(towers)
    save(tmp_path / "model.npz", to_big_vision(ours.state_dict(), towers, scan))
    from open_clip.convert import load_big_vision_weights

    load_big_vision_weights(theirs, str(tmp_path / "model.npz"))
    pixels = torch.randn(3, 3, towers.image.image_size, towers.image.image_size)
    ids = torch.randint(0, 120, (5, 9))
    with torch.inference_mode():
        assert max_gap(ours.image(pixels), theirs.visual.trunk(pixels)) < TOLERANCE
        assert max_gap(ours.text(ids), theirs.text(ids)) < TOLERANCE
    assert torch.equal(theirs.logit_scale, ours.log_scale)
    assert torch.equal(theirs.logit_bias, ours.logit_bias)


@either
def test_timm_reads_our_naflex(tmp_path, scan):
    towers = CASES["naflex"]
    config, ours = towers.image, random_towers(towers, seed=1)
    trunk = randomise(timm().create_model(
        "naflexvit_base_patch16_siglip", patch_size=8, embed_dim=24, depth=2, num_heads=3, mlp_ratio=40 / 24,
        num_classes=0, pos_embed_grid_size=(4, 4), pos_embed_interp_mode="bilinear"), seed=7)
    save(tmp_path / "model.npz", to_big_vision(ours.state_dict(), towers, scan))
    trunk.load_pretrained(str(tmp_path / "model.npz"))
    pixels = torch.randn(2, 3, 24, 40)  # 3 × 5 patches
    rows = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(-1, 3 * config.patch_size**2)
    with torch.inference_mode():
        assert max_gap(ours.image(PackedPatches(rows, torch.tensor([[3, 5]] * 2))), trunk(pixels)) < TOLERANCE


def test_attention_is_flaxs():
    """flax.linen.MultiHeadDotProductAttention, from its own arrays: kernels with an axis of heads, and einsum."""
    towers = SIGLIP
    model = random_towers(towers, seed=1)
    published = to_big_vision(model.state_dict(), towers, scan=False)
    x = np.random.default_rng(0).normal(size=(2, 5, 24))

    def attention(prefix: str, query: np.ndarray) -> np.ndarray:
        p = {key.removeprefix(prefix): value.double().numpy() for key, value in published.items()}
        q, k, v = (np.einsum("bld,dhe->blhe", inputs, p[f"{name}/kernel"]) + p[f"{name}/bias"]
                   for name, inputs in (("query", query), ("key", x), ("value", x)))
        scores = np.exp(np.einsum("bqhe,bkhe->bhqk", q, k) / q.shape[-1] ** 0.5)
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.einsum("bqhe,hed->bqd", np.einsum("bhqk,bkhe->bqhe", scores, v), p["out/kernel"]) + p["out/bias"]

    tokens = torch.from_numpy(x).float()
    for ours, theirs in (("image.blocks.1", "img/Transformer/encoderblock_1/"),
                         ("text.blocks.0", "txt/Encoder_0/encoderblock_0/")):
        got = model.get_submodule(f"{ours}.attention")(tokens)
        assert max_gap(got, torch.from_numpy(attention(f"params/{theirs}MultiHeadDotProductAttention_0/", x)).float()
                       ) < TOLERANCE
    probe = published["params/img/MAPHead_0/probe"].double().numpy().repeat(2, axis=0)
    got = model.image.pool.attention(model.image.pool.probe.expand(2, -1, -1), memory=tokens)
    want = attention("params/img/MAPHead_0/MultiHeadDotProductAttention_0/", probe)
    assert max_gap(got, torch.from_numpy(want).float()) < TOLERANCE


@each
@either
def test_there_and_back_through_a_file_changes_nothing(tmp_path, towers, scan):
    state = random_towers(towers).state_dict()
    save(tmp_path / "model.npz", to_big_vision(state, towers, scan))
    back = from_big_vision(load(tmp_path / "model.npz"), towers)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_shapes_are_those_of_the_published_files():
    b16 = TwoTowerConfig(image=VitConfig(), text=TextConfig(vocab_size=256_000, context_length=64, projection=768))
    naflex = dataclasses.replace(b16, image=NaflexConfig())

    def shapes(towers, scan):
        state = {name: torch.empty(shape, device="meta") for name, shape in state_shapes(towers).items()}
        return {key.removeprefix("params/"): tuple(t.shape) for key, t in to_big_vision(state, towers, scan).items()}

    scanned = shapes(b16, scan=True)
    attention = "img/Transformer/encoderblock/MultiHeadDotProductAttention_0"
    assert scanned.items() >= {
        "img/embedding/kernel": (16, 16, 3, 768), "img/pos_embedding": (1, 196, 768),
        f"{attention}/query/kernel": (12, 768, 12, 64), f"{attention}/key/bias": (12, 12, 64),
        f"{attention}/out/kernel": (12, 12, 64, 768), f"{attention}/out/bias": (12, 768),
        "img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel": (12, 768, 3072),
        "img/Transformer/encoderblock/LayerNorm_1/scale": (12, 768), "img/Transformer/encoder_norm/bias": (768,),
        "img/MAPHead_0/probe": (1, 1, 768), "img/MAPHead_0/MultiHeadDotProductAttention_0/value/kernel": (768, 12, 64),
        "txt/Embed_0/embedding": (256_000, 768), "txt/pos_embedding": (1, 64, 768),
        "txt/Encoder_0/encoderblock/LayerNorm_0/bias": (12, 768), "txt/head/kernel": (768, 768), "t": (1,), "b": (1,),
    }.items()
    assert len(scanned) == 60  # whatever the depth
    assert shapes(naflex, scan=True).items() >= {
        "img/embedding/kernel": (768, 768), "img/pos_embedding": (16, 16, 768)}.items()
    unrolled = shapes(b16, scan=False)
    assert unrolled["txt/Encoder_0/encoderblock_11/MlpBlock_0/Dense_1/kernel"] == (3072, 768)


def test_the_root_and_the_training_state_and_one_scanned_tower():
    state = random_towers(SIGLIP).state_dict()
    flat = {key.removeprefix("params/"): value for key, value in to_big_vision(state, SIGLIP, scan=False).items()}
    scanned = to_big_vision(state, SIGLIP, scan=True)
    mixed = {key: value for key, value in scanned.items() if not key.startswith("params/img/")}
    mixed |= {f"params/{key}": value for key, value in flat.items() if key.startswith("img/")}  # as in NaFlex's files
    training = scanned | {"opt/0/count": torch.zeros(()), "chrono/accum_train_time": torch.zeros(())}
    for published in (flat, mixed, training):
        read = from_big_vision(published, SIGLIP)
        assert all(torch.equal(read[name], state[name]) for name in state)


def test_half_precision_stays_what_it_is():
    state = {name: tensor.bfloat16() for name, tensor in random_towers(SIGLIP).state_dict().items()}
    back = from_big_vision(to_big_vision(state, SIGLIP, scan=True), SIGLIP)
    assert all(back[name].dtype == torch.bfloat16 and torch.equal(back[name], state[name]) for name in state)


def test_the_same_model_in_big_visions_layout_and_in_huggingfaces():
    state = random_towers(CASES["naflex"]).state_dict()
    there = from_big_vision(to_big_vision(state, CASES["naflex"], scan=True), CASES["naflex"])
    published = to_huggingface(there, CASES["naflex"], "huggingface_siglip2")
    back = from_huggingface(published, CASES["naflex"], "huggingface_siglip2")
    assert all(torch.equal(back[name], state[name]) for name in state)


UNROLLED = to_big_vision(random_towers(SIGLIP).state_dict(), SIGLIP, scan=False)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(UNROLLED)))
def test_every_key_must_be_there_and_of_its_shape(key):
    weights, shape, name = dict(UNROLLED), list(UNROLLED[key].shape), key.removeprefix("params/")
    asked = "" if weights[key].numel() == 1 else f" has shape {[*shape, 2]}, expected {shape}"  # [1] stands for []
    with pytest.raises(CheckpointError, match=re.escape(f"'{name}'{asked}")):
        from_big_vision(weights | {key: torch.zeros(*shape, 2)}, SIGLIP)
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack '{name}'"):
        from_big_vision(weights, SIGLIP)


def test_other_depths_unknown_keys_and_doubles_are_named():
    scanned = to_big_vision(random_towers(SIGLIP).state_dict(), SIGLIP, scan=True)
    norm = "params/txt/Encoder_0/encoderblock/LayerNorm_0/scale"
    with pytest.raises(CheckpointError, match=r"has not: txt/Encoder_0/encoderblock_2/LayerNorm_0/scale"):
        from_big_vision(scanned | {norm: torch.zeros(3, 24)}, SIGLIP)
    with pytest.raises(CheckpointError, match=r"lack 'txt/Encoder_0/encoderblock_1/LayerNorm_0/scale'"):
        from_big_vision(scanned | {norm: torch.zeros(1, 24)}, SIGLIP)
    with pytest.raises(CheckpointError, match=r"LayerNorm_0/scale' has shape \[\], expected the layers"):
        from_big_vision(scanned | {norm: torch.zeros(())}, SIGLIP)
    with pytest.raises(CheckpointError, match=r"encoderblock_0/LayerNorm_0/scale' twice, stacked and unrolled"):
        from_big_vision(scanned | {norm.replace("block", "block_0"): torch.zeros(24)}, SIGLIP)
    with pytest.raises(CheckpointError, match=r"has not: img/head/kernel"):
        from_big_vision(scanned | {"params/img/head/kernel": torch.zeros(24, 10)}, SIGLIP)
    with pytest.raises(CheckpointError, match=r"keys beside params/ .* img/cls"):
        from_big_vision(scanned | {"img/cls": torch.zeros(24)}, SIGLIP)


def test_towers_that_the_layout_cannot_hold():
    with pytest.raises(ValueError, match="big_vision holds a ViT with MAP pooling"):
        names(dataclasses.replace(SIGLIP, image=VitConfig(pool="cls", **SIZES)))
    with pytest.raises(ValueError, match="they differ in logit_bias"):
        names(dataclasses.replace(SIGLIP, init_logit_bias=None))
    with pytest.raises(ValueError, match=r"not the state dict of these towers: image\.blocks\.0"):
        to_big_vision({}, SIGLIP, scan=True)
