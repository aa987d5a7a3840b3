"""Augmented views of every drawing through the early blocks of the picture tower, computed once.

A view is a flat row: the maps that the late blocks take, then the features that they gave before any tuning.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import telemetry
from diptych.core.config import to_json
from diptych.core.files import sha256_bytes
from diptych.data.augment import augment
from diptych.models.config import EfficientNetConfig
from diptych.models.efficientnet import Trunk
from diptych.recipes.tiny import BLOCKS, TinyConfig
from diptych.recipes.tiny.world import World
from diptych.training.features import extract
from diptych.training.loop import hash_seed

FEATURES = EfficientNetConfig().features


def late_from(config: TinyConfig) -> int:
    """The first of the late blocks, counted from the stem."""
    return BLOCKS - config.late_blocks


def map_shape(config: TinyConfig, trunk: Trunk) -> tuple[int, int, int]:
    """(height, width, channels) of the maps that the late blocks take."""
    with torch.no_grad():
        _, channels, height, width = trunk.early(torch.zeros(1, 3, config.image_size, config.image_size),
                                                 late_from(config)).shape
    return height, width, channels


def channels_last_maps(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Flat rows [n, h·w·c] as a channels-last batch [n, c, h, w]."""
    return rows.unflatten(1, shape).permute(0, 3, 1, 2)


class _MapsAndFeatures(nn.Module):
    """Pixels to flat rows: the maps that the late blocks take, then the features that they give."""

    def __init__(self, trunk: Trunk, at: int):
        super().__init__()
        self.trunk, self.at = trunk, at

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.trunk.early(pixels, self.at)
        return torch.cat([maps.permute(0, 2, 3, 1).flatten(1), self.trunk.late(maps, self.at)], dim=1)


def view_maps(config: TinyConfig, world: World, trunk: Trunk, folder: Path) -> np.ndarray:
    """Of every augmented view, the maps before the late blocks and the untuned features, flat, [views · pictures, h · w
    · c + 1280], kept in `folder`."""
    drawings, count = world.drawings, len(world.drawings)
    key = sha256_bytes((to_json(config.augmentation) + f"{config.image_size} {config.seed} {count} {config.views} "
                        f"{config.late_blocks}" + world.data_sha256).encode())[:12]

    def pixels(i: int) -> np.ndarray:
        view, index = divmod(i, count)
        rng = np.random.default_rng([config.seed, hash_seed("views"), view, index])
        return augment(drawings.cutout(index), rng, config.image_size, config.augmentation, bool(drawings.flip[index]))

    width = math.prod(map_shape(config, trunk)) + FEATURES
    return extract(_MapsAndFeatures(trunk, late_from(config)), pixels, config.views * count, width,
                   folder / f"views-{key}.npy", title="views")


@torch.inference_mode()
def tuned_features(config: TinyConfig, trunk: Trunk, views: np.ndarray) -> np.ndarray:
    """The features of every view by the late blocks as they are now, float16 [views · pictures, 1280]."""
    at, shape = late_from(config), map_shape(config, trunk)
    features = np.empty((len(views), FEATURES), np.float16)
    trunk.eval()
    with telemetry.progress("tuned features", len(views), "views") as bar:
        for start in range(0, len(views), 256):
            block = torch.from_numpy(views[start : start + 256, :-FEATURES].astype(np.float32))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features[start : start + 256] = trunk.late(channels_last_maps(block, shape), at).float().numpy()
            bar.advance(len(block))
    return features
