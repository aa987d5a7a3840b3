"""Every layout of the catalogue behind two functions: published weights to our state dict, and back."""

from collections.abc import Mapping

from torch import Tensor

from diptych.models.checkpoints.catalog import Layout
from diptych.models.checkpoints.maps import big_vision, huggingface, mobileclip, open_clip, openai
from diptych.models.config import TwoTowerConfig


def read(published: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """The weights of a file in that layout as the state dict of `TwoTower(towers)`, dtypes kept.

    CheckpointError names the first key that is missing, unknown or misshapen; ValueError when the layout cannot hold
    such towers.
    """
    match layout:
        case "huggingface_clip" | "huggingface_siglip" | "huggingface_siglip2":
            return huggingface.from_huggingface(published, towers, layout)
        case "open_clip" | "open_clip_custom" | "open_clip_timm":
            return open_clip.from_open_clip(published, towers, layout)
        case "openai":
            return openai.from_openai(published, towers)
        case "big_vision":
            return big_vision.from_big_vision(published, towers)
        case "mobileclip":
            return mobileclip.from_mobileclip(published, towers)
        case "native":
            return dict(published)


def write(ours: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under the names of that layout; the inverse of `read`."""
    match layout:
        case "huggingface_clip" | "huggingface_siglip" | "huggingface_siglip2":
            return huggingface.to_huggingface(ours, towers, layout)
        case "open_clip" | "open_clip_custom" | "open_clip_timm":
            return open_clip.to_open_clip(ours, towers, layout)
        case "openai":
            return openai.to_openai(ours, towers)
        case "big_vision":
            return big_vision.to_big_vision(ours, towers, scan=False)
        case "mobileclip":
            return mobileclip.to_mobileclip(ours, towers)
        case "native":
            return dict(ours)
