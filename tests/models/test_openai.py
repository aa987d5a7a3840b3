"""OpenAI's archives from end to end: written as theirs are, read as data, and the vectors compared with open_clip's."""

import copy
import dataclasses
import re
import warnings

import pytest
import torch
from reference import open_clip
from small_resnets import randomise_evenly
from small_towers import clip_towers, max_gap, siglip_towers

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps.open_clip import from_open_clip
from diptych.models.checkpoints.maps.openai import from_openai, to_openai
from diptych.models.checkpoints.reader import read_weights
from diptych.models.config import ResNetConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.two_tower import TwoTower

TOLERANCE = 1e-5
"""Of unit vectors, in float32: what merging BatchNorms and the fused attention round differently is below 3e-6."""

_TEXT = TextConfig(
    vocab_size=60, context_length=9, width=128, layers=2, heads=2, mlp_width=512, activation="quick_gelu", causal=True,
    pool="argmax", eos_id=59, projection=24, projection_bias=False, norm_eps=1e-5)
_VIT = VitConfig(
    image_size=48, patch_size=16, width=64, layers=2, heads=1, mlp_width=256, pool="cls", activation="quick_gelu",
    pre_norm=True, patch_bias=False, projection=24, norm_eps=1e-5)
_RESNET = ResNetConfig(image_size=64, layers=(1, 2, 1, 1), width=16, heads=8, projection=24)

TOWERS = {name: TwoTowerConfig(image=image, text=_TEXT, init_logit_scale=1 / 0.07, init_logit_bias=None)
          for name, image in {"vit": _VIT, "resnet": _RESNET}.items()}


def reference(towers: TwoTowerConfig):
    """open_clip's CLIP of these sizes, as it builds OpenAI's models, with weights that half precision has."""
    open_clip()
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    image, text = towers.image, towers.text
    layers = list(image.layers) if isinstance(image, ResNetConfig) else image.layers
    model = CLIP(
        text.projection,
        CLIPVisionCfg(layers=layers, width=image.width, patch_size=getattr(image, "patch_size", None),
                      image_size=image.image_size),
        CLIPTextCfg(context_length=text.context_length, vocab_size=text.vocab_size, width=text.width, heads=text.heads,
                    layers=text.layers),
        quick_gelu=True)
    randomise_evenly(model, image.image_size)
    with torch.no_grad():
        model.logit_scale.fill_(4.0)
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half() if tensor.is_floating_point() else tensor)
    return model


def save_archive(model, towers: TwoTowerConfig, path) -> None:
    """As OpenAI did: the traced model, most of it in half precision, with the three counters as buffers."""
    from open_clip.model import convert_weights_to_lp

    model = copy.deepcopy(model)
    mask = model.attn_mask
    del model.attn_mask, model.context_length, model.vocab_size
    model.attn_mask = mask  # a constant of the trace there, no buffer
    for name, value in (("input_resolution", towers.image.image_size), ("context_length", towers.text.context_length),
                        ("vocab_size", towers.text.vocab_size)):
        model.register_buffer(name, torch.tensor(value))
    pixels = torch.randn(1, 3, towers.image.image_size, towers.image.image_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, and that newer versions call TorchScript deprecated
        traced = torch.jit.trace(model, (pixels, torch.ones(1, towers.text.context_length, dtype=torch.long)))
        convert_weights_to_lp(traced, torch.float16)
        for part in traced.modules():  # which it does not recognise in a trace
            if part.original_name in ("Conv2d", "Linear"):
                part.half()
        torch.jit.save(traced, path)


def ids_and_pixels(towers: TwoTowerConfig, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 58, (batch, towers.text.context_length))
    for row, end in enumerate(torch.randint(1, towers.text.context_length, (batch,)).tolist()):
        ids[row, end], ids[row, end + 1 :] = 59, 0
    return ids, torch.randn(batch, 3, towers.image.image_size, towers.image.image_size)


def build(state: dict[str, torch.Tensor], towers: TwoTowerConfig) -> TwoTower:
    with torch.device("meta"):
        model = TwoTower(towers).eval().requires_grad_(False)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("batch", [1, 4])
def test_an_archive_gives_open_clips_vectors(tmp_path, towers, batch):
    theirs, path = reference(towers), tmp_path / "model.pt"
    save_archive(theirs, towers, path)
    published = read_weights(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(path).state_dict()
    assert published.keys() == loaded.keys() and {"input_resolution", "visual.conv1.weight"} < published.keys()
    assert all(published[k].dtype == t.dtype and torch.equal(published[k], t) for k, t in loaded.items())
    assert published["visual.conv1.weight"].dtype == torch.float16, "half precision is what the archives have"

    ours = build(from_openai(published, towers), towers)
    ids, pixels = ids_and_pixels(towers, batch)
    with torch.inference_mode():
        for mine, other in ((ours.encode_image(pixels), theirs.encode_image(pixels, normalize=True)),
                            (ours.encode_text(ids), theirs.encode_text(ids, normalize=True))):
            assert batch == 1 or other.std(dim=0).mean() > 0.01, "vectors that are all alike would measure nothing"
            assert max_gap(mine, other) < TOLERANCE
        assert torch.equal(ours.logit_scale, theirs.logit_scale.exp())


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
def test_there_and_back_changes_nothing_and_open_clip_builds_it(towers):
    state = from_open_clip(reference(towers).state_dict(), towers, "open_clip")
    written = to_openai(state, towers)
    back = from_openai(written, towers)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)

    from open_clip.model import build_model_from_openai_state_dict

    ours, theirs = build(state, towers), reference(towers)
    counters = {"input_resolution", "context_length", "vocab_size"}
    theirs.load_state_dict({name: tensor for name, tensor in written.items() if name not in counters}, strict=True)
    built = build_model_from_openai_state_dict(dict(written)).float()  # from shapes alone, and through half precision
    ids, pixels = ids_and_pixels(towers, 3)
    with torch.inference_mode():
        for model, tolerance in ((theirs, TOLERANCE), (built, 2e-3)):
            assert max_gap(model.encode_image(pixels, normalize=True), ours.encode_image(pixels)) < tolerance
            assert max_gap(model.encode_text(ids, normalize=True), ours.encode_text(ids)) < tolerance


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
def test_the_counters_are_checked_but_may_be_missing(towers):
    written = to_openai(TwoTower(towers).state_dict(), towers)
    assert {name: written[name].tolist() for name in ("input_resolution", "context_length", "vocab_size")} == {
        "input_resolution": towers.image.image_size, "context_length": 9, "vocab_size": 60}
    for name in ("input_resolution", "context_length", "vocab_size"):
        with pytest.raises(CheckpointError, match=f"'{name}' is 5 in the weights, {int(written[name])} in the config"):
            from_openai(written | {name: torch.tensor(5)}, towers)
        with pytest.raises(CheckpointError, match=rf"'{name}' is \[5, 5\] in the weights"):
            from_openai(written | {name: torch.tensor([5, 5])}, towers)
        rest = {key: tensor for key, tensor in written.items() if key != name}
        assert from_openai(rest, towers).keys() == TwoTower(towers).state_dict().keys()


@pytest.mark.parametrize(("name", "key"), [
    ("vit", "visual.proj"), ("vit", "transformer.resblocks.1.mlp.c_fc.bias"), ("resnet", "text_projection"),
    ("resnet", "visual.layer2.1.bn3.running_var"), ("resnet", "visual.attnpool.k_proj.weight"),
])
def test_keys_that_are_missing_or_unknown_are_named(name, key):
    written = to_openai(TwoTower(TOWERS[name]).state_dict(), TOWERS[name])
    with pytest.raises(CheckpointError, match=rf"keys that .* has not: {re.escape(key)}\.more"):
        from_openai(written | {f"{key}.more": torch.zeros(1)}, TOWERS[name])
    del written[key]
    with pytest.raises(CheckpointError, match=f"lack '{re.escape(key)}'"):
        from_openai(written, TOWERS[name])


@pytest.mark.parametrize(("towers", "message"), [
    (clip_towers(), "text.heads 0 instead of 4; .*text.mlp_width 64 instead of 32; image.heads 0 instead of 3"),
    (siglip_towers(), "text.activation quick_gelu instead of gelu_tanh; .*init_logit_bias None instead of -10.0"),
    (dataclasses.replace(TOWERS["vit"], image=dataclasses.replace(_VIT, image_size=50)),
     "with image.image_size 48 instead of 50; write"),
    (dataclasses.replace(TOWERS["resnet"], image=dataclasses.replace(_RESNET, heads=4)),
     "with image.heads 8 instead of 4; write"),
])
def test_towers_that_openais_code_would_misread_are_not_written(towers, message):
    with pytest.raises(ValueError, match=f"OpenAI's code would make other towers of these weights, .*{message}"):
        to_openai(TwoTower(towers).state_dict(), towers)
