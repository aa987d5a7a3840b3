"""How much of a text its tower looks at. What it does not see need not be computed, and names are short."""

import numpy as np
from jaxtyping import Int64

from diptych.models.config import TextConfig, TransformersTextConfig

STEP = 4
"""Lengths are rounded up to multiples of this, so that few distinct shapes occur: each costs oneDNN a compilation."""


def visible_lengths(
    ids: Int64[np.ndarray, "n len"], config: TextConfig | TransformersTextConfig
) -> Int64[np.ndarray, " n"]:
    """How many of a text's ids its vector depends on: all, where the tower sees its padding; up to the pooled position
    in a causal one; else up to the last that is not padding."""
    n, length = ids.shape
    if isinstance(config, TextConfig):
        if config.sees_padding:
            return np.full(n, length, np.int64)
        if config.causal and config.pool in ("argmax", "eos"):
            pooled = ids.argmax(axis=1) if config.pool == "argmax" else (ids == config.eos_id).argmax(axis=1)
            return pooled.astype(np.int64) + 1
    # a text that says "<pad>" has the id inside as well
    return np.maximum(((ids != config.pad_id) * np.arange(1, length + 1)).max(axis=1), 1).astype(np.int64)


def cut(ids: Int64[np.ndarray, "n len"], length: int) -> Int64[np.ndarray, "n shorter"]:
    """The first `length` ids of each text, rounded up."""
    return np.ascontiguousarray(ids[:, : -(-length // STEP) * STEP])
