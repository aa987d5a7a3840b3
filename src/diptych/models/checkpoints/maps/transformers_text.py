"""Keys of open_clip's `HFTextEncoder`: the text tower that is another project's model, under `text.transformer.`, and
its projection, under `text.proj`."""

import torch

from diptych.models.checkpoints.maps.keys import Names, one
from diptych.models.config import TransformersTextConfig
from diptych.models.transformers_text import TransformersText

TABLES = frozenset({"text.transformer.embeddings.position_ids", "text.transformer.embed_positions.weights"})
"""Computed once, and stored by older versions of transformers; not weights."""


def names(config: TransformersTextConfig) -> Names:
    """Each of our keys with open_clip's. CheckpointError when `transformers` is not installed."""
    with torch.device("meta"):
        tower = TransformersText(config)
    found = {f"text.transformer.{key}": one(f"text.transformer.{key}") for key in tower.transformer.state_dict()}
    if config.projection is None:
        return found
    if config.projection_hidden is None:
        return found | {"text.projection.weight": one("text.proj.weight")}
    return found | {"text.projection.fc1.weight": one("text.proj.0.weight"),
                    "text.projection.fc2.weight": one("text.proj.2.weight")}
