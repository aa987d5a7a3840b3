"""open_clip's configurations against the models that open_clip builds from them, on the meta device."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from reference import open_clip

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.open_clip_config import from_model_cfg, to_model_cfg
from diptych.models.config import EfficientNetConfig, EvaConfig, TextConfig, TwoTowerConfig
from diptych.models.two_tower import TwoTower, count_parameters

CONFIGS = {path.stem: json.loads(path.read_text())
           for path in sorted((Path(open_clip().__file__).parent / "model_configs").glob("*.json"))}
OTHERS = ("convnext", "ViTamin", "swin", "vit_", "mt5", "nllb", "roberta", "xlm", "coca_roberta", "ViT-M", "ViT-S")
OURS = {name: cfg for name, cfg in CONFIGS.items() if not name.startswith(OTHERS)}


def ours(name: str) -> TwoTower:
    with torch.device("meta"):
        return TwoTower(from_model_cfg(OURS[name]))


@pytest.mark.parametrize("name", [n for n in OURS if not n.startswith("coca")])
def test_towers_have_as_many_parameters_as_open_clips(name):
    package = open_clip()
    cfg = deepcopy(OURS[name])
    kind = package.CustomTextCLIP if cfg.pop("custom_text", False) or "timm_model_name" in cfg["vision_cfg"] \
        else package.CLIP
    with torch.device("meta"):
        theirs = kind(**cfg)
    towers = ours(name)
    norms = sum(m.weight.numel() for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d))
    if norms:  # merged here, and FastViT's branches with them
        assert count_parameters(towers) < count_parameters(theirs)
        assert count_parameters(towers.text) == count_parameters(theirs) - count_parameters(theirs.visual) - 1
    else:
        # EVA's keys have no bias: it is zero here
        image = towers.config.image
        keys = image.layers * image.width if isinstance(image, EvaConfig) and not image.key_bias else 0
        assert count_parameters(towers) - keys == count_parameters(theirs)


@pytest.mark.parametrize("name", [n for n in OURS if not n.startswith("coca")])
def test_what_is_written_is_read_again(name):
    towers = from_model_cfg(OURS[name])
    assert from_model_cfg(to_model_cfg(towers)) == towers


def test_what_open_clip_has_not_is_refused():
    towers = from_model_cfg(OURS["ViT-B-16-SigLIP"])
    small = TwoTowerConfig(image=EfficientNetConfig(projection=768), text=towers.text)
    with pytest.raises(ValueError, match="no efficientnet_lite0 tower"):
        to_model_cfg(small)
    with pytest.raises(ValueError, match="only with its captioning decoder"):
        to_model_cfg(from_model_cfg(OURS["coca_ViT-B-32"]))
    masked = TextConfig(vocab_size=9, context_length=5, pool="mean", mask_padding=True, projection=768)
    with pytest.raises(ValueError, match="masks its padding"):
        to_model_cfg(TwoTowerConfig(image=towers.image, text=masked))
    with pytest.raises(CheckpointError, match="timm's 'resnet18'"):
        from_model_cfg({"embed_dim": 8, "vision_cfg": {"timm_model_name": "resnet18"}, "text_cfg": {}})
