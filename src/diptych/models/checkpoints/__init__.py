"""Published weights: where they come from, their layouts, and the maps between those layouts and our towers."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.models.two_tower import TwoTower


def load(name_or_path: str | Path, *, like: str | None = None, image_size: int | None = None,
         patch_size: int | None = None) -> "TwoTower":
    """The towers of a model on this machine: `encode_image(pixels)`, `encode_text(ids)`, `logit_scale`, `logit_bias`.

    As `diptych.load_model`, which adds tokenizer and preprocessing. ModelNotFound names the nearest model,
    CheckpointError what is missing, damaged or does not fit.
    """
    from diptych.models.checkpoints.loading import load_towers  # here: the catalogue is read without torch

    return load_towers(name_or_path, like, image_size, patch_size)
