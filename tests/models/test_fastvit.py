"""Our FastViT against timm's on the same weights, both ways; and the strictness of what merges its branches."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import timm
from small_fastvit import SMALL, randomise_statistics, timm_fastvit
from small_towers import max_gap

from diptych.core.config import from_dict, to_dict
from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import fastvit, keys
from diptych.models.config import FastVitConfig, TextConfig, TwoTowerConfig, mci
from diptych.models.fastvit import FastVit
from diptych.models.two_tower import TwoTower

TOLERANCE = 1e-5  # float32: one convolution rounds differently from the sum of its branches
CONFIGS = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)


def published(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"visual.trunk.{key}": tensor for key, tensor in model.state_dict().items()}


def shapes(config: FastVitConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {f"image.{key}": tuple(tensor.shape) for key, tensor in FastVit(config).state_dict().items()}


def read(weights: dict[str, torch.Tensor], config: FastVitConfig) -> dict[str, torch.Tensor]:
    return keys.read(fastvit.merge(weights, config), fastvit.names(config), shapes(config), "open_clip_timm")


def write(state: dict[str, torch.Tensor], config: FastVitConfig) -> dict[str, torch.Tensor]:
    return fastvit.split(keys.write(state, fastvit.names(config)), config)


def tower_of(state: dict[str, torch.Tensor], config: FastVitConfig) -> FastVit:
    with torch.device("meta"):
        tower = FastVit(config).requires_grad_(False)
    tower.load_state_dict({key.removeprefix("image."): tensor for key, tensor in state.items()}, assign=True)
    return tower.eval()


@CONFIGS
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (3, 128, 128), (2, 70, 45), (2, 33, 96)])
def test_maps_and_features_are_timms(config, batch, height, width):
    theirs = timm_fastvit(config)
    ours, pixels = tower_of(read(published(theirs), config), config), torch.randn(batch, 3, height, width)
    assert max_gap(ours.tokens(pixels), theirs.forward_features(pixels)) < TOLERANCE
    assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE


@CONFIGS
def test_the_branches_matter(config):
    """What is merged must come from every branch: without one of them the features are others."""
    weights, pixels = published(timm_fastvit(config)), torch.randn(1, 3, 64, 64)
    before = tower_of(read(weights, config), config)(pixels)
    for branch in ("stem.2.identity.weight", "final_conv.conv_scale.conv.weight",
                   "stages.1.downsample.proj.0.small_conv.bn.running_mean",
                   "stages.1.blocks.1.token_mixer.norm.identity.bias", "stages.1.blocks.0.layer_scale.gamma"):
        key = f"visual.trunk.{branch}"
        without = tower_of(read(weights | {key: torch.zeros_like(weights[key])}, config), config)
        assert max_gap(without(pixels), before) > 1e-4, branch


@CONFIGS
def test_a_file_in_which_timm_has_merged_the_branches_is_read_too(config):
    timm()
    from timm.utils.model import reparameterize_model

    theirs = timm_fastvit(config)
    merged = published(reparameterize_model(theirs))
    assert "visual.trunk.stages.3.pos_emb.reparam_conv.weight" in merged
    ours, reread = read(published(theirs), config), read(merged, config)
    assert all(max_gap(ours[key], reread[key]) < 2e-6 for key in ours)  # timm merges in float32
    with pytest.raises(CheckpointError, match=r"conv_kxk\.0\.bn\.bias"):  # both at once: which is it?
        read(published(theirs) | {key: merged[key] for key in merged if "stem.1." in key}, config)


@CONFIGS
def test_our_weights_load_strictly_in_timm(config):
    ours = randomise_statistics(FastVit(config), seed=1)
    state = {f"image.{key}": tensor for key, tensor in ours.state_dict().items()}
    theirs = timm_fastvit(config)
    theirs.load_state_dict({key.removeprefix("visual.trunk."): tensor
                            for key, tensor in write(state, config).items()}, strict=True)
    pixels = torch.randn(2, 3, 64, 64)
    assert max_gap(ours.tokens(pixels), theirs.forward_features(pixels)) < TOLERANCE
    assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE


@CONFIGS
@pytest.mark.parametrize("decades", [0, 30])
def test_there_and_back_changes_nothing(config, decades):
    """Whatever the magnitudes: nothing is added to a weight that would cost its last bits."""
    state = {name: torch.randn(shape) * 10.0 ** (decades * (torch.rand(shape) - 0.9))
             for name, shape in shapes(config).items()}
    back = read(write(state, config), config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) and back[name].dtype == torch.float32 for name in state)


PUBLISHED = {name: published(timm_fastvit(config)) for name, config in SMALL.items()}


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(name, key) for name in SMALL for key in PUBLISHED[name] if "num_batches" not in key]))
def test_every_key_must_be_there_and_of_its_shape(which):
    name, key = which
    weights, config = dict(PUBLISHED[name]), SMALL[name]
    shape = list(weights[key].shape)
    with pytest.raises(CheckpointError, match=re.escape(f"'{key}' has shape {[*shape, 2]}, expected {shape}")):
        read(weights | {key: torch.zeros(*shape, 2)}, config)
    del weights[key]
    with pytest.raises(CheckpointError, match=f"lack '{re.escape(key)}'"):
        read(weights, config)


def test_unknown_keys_are_named_and_counters_are_not_weights():
    config, weights = SMALL["four stages"], PUBLISHED["four stages"]
    without = {key: tensor for key, tensor in weights.items() if "num_batches_tracked" not in key}
    assert read(without, config).keys() == shapes(config).keys()
    for unknown in ("stem.3.conv_kxk.0.conv.weight", "stem.2.conv_scale.conv.weight",
                    "stages.0.blocks.1.layer_scale.gamma", "stages.0.downsample.proj.0.se.fc1.bias"):
        key = f"visual.trunk.{unknown}"
        with pytest.raises(CheckpointError, match=f"{re.escape(key)}$"):
            read(weights | {key: torch.zeros(3)}, config)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
def test_the_published_sizes_have_timms_keys_and_shapes(size):
    config = mci(size, 768)
    with torch.device("meta"):
        theirs = timm().create_model(f"fastvit_mci{size}", num_classes=768)
    names = fastvit.names(config)
    assert names.keys() == shapes(config).keys()
    # one number seen as whole tensors: no memory, and no meta tensors, whose values `split` could not check
    merged = {names[name].keys[0]: torch.zeros(()).expand(shape) for name, shape in shapes(config).items()}
    written = {key: tuple(tensor.shape) for key, tensor in fastvit.split(merged, config).items()}
    assert written == {key: tuple(tensor.shape) for key, tensor in published(theirs).items()}
    pixels = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    with torch.device("meta"):
        assert FastVit(config).tokens(pixels).shape == theirs.forward_features(pixels).shape


@pytest.mark.slow
def test_mci0_at_its_own_size_is_timms():
    config = mci(0, 512)
    theirs = randomise_statistics(timm().create_model("fastvit_mci0", num_classes=512))
    ours, pixels = tower_of(read(published(theirs), config), config), torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        assert max_gap(ours(pixels), theirs(pixels)) < TOLERANCE


@CONFIGS
@pytest.mark.parametrize("size", [128, 97, 65])
def test_features_are_the_mean_of_the_projected_cells(config, size):
    tower, pixels = randomise_statistics(FastVit(config)), torch.randn(2, 3, size, size)
    cells = tower.patch_tokens(pixels)
    grid = FastVitConfig(widths=config.widths, depths=config.depths, image_size=size).grid
    assert cells.shape == (2, grid**2, 2 * config.widths[-1])
    assert max_gap(tower.projection(cells).mean(dim=1), tower(pixels)) < TOLERANCE
    assert torch.equal(cells[:, 1 if grid > 1 else 0], tower.tokens(pixels)[:, :, 0, 1 if grid > 1 else 0])


@CONFIGS
def test_a_picture_does_not_depend_on_its_batch(config):
    tower, pixels = randomise_statistics(FastVit(config)), torch.randn(4, 3, 64, 64)
    assert max_gap(tower(pixels)[2:3], tower(pixels[2:3])) < TOLERANCE


def test_the_configuration_survives_json_and_names_a_tower():
    towers = TwoTowerConfig(image=SMALL["five stages"], text=TextConfig(
        vocab_size=30, context_length=8, width=16, layers=1, heads=2, mlp_width=20, projection=24))
    assert from_dict(TwoTowerConfig, to_dict(towers)) == towers
    assert isinstance(TwoTower(towers).image, FastVit) and TwoTower(towers).dim == 24


def test_configurations_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="one for each stage, got 4 and 3"):
        FastVitConfig(depths=(2, 6, 10))
    with pytest.raises(ValueError, match="attention_stages=5"):
        FastVitConfig(attention_stages=5)
    with pytest.raises(ValueError, match="gated_stages=4"):
        FastVitConfig(gated_stages=4)
    with pytest.raises(ValueError, match="multiple of 32"):
        FastVitConfig(widths=(8, 16, 24, 48))
    with pytest.raises(ValueError, match="multiple of the one before"):
        FastVitConfig(widths=(64, 96, 192, 384))
