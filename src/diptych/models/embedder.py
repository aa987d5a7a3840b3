"""The torch Embedder: pictures and texts in, numpy unit vectors out, whatever the batch.

Pictures run in bfloat16 where the processor multiplies it natively (two to three times as fast; what that costs is
measured in docs/models.md) and in float32 elsewhere; texts always in float32. Long inputs are cut into blocks, so
memory is bounded.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from diptych.core.types import EmbedderSpec, Picture
from diptych.inputs.image import Preprocessing, preprocess_batch
from diptych.inputs.tokenizer import Tokenizer
from diptych.models.config import TextConfig
from diptych.models.layers import channels_last
from diptych.models.text import encode_by_length
from diptych.models.two_tower import TwoTower

IMAGE_BLOCK, TEXT_BLOCK = 32, 256


class TorchEmbedder:
    """An `Embedder` over a TwoTower in evaluation mode."""

    def __init__(self, towers: TwoTower, tokenizer: Tokenizer, preprocessing: Preprocessing, spec: EmbedderSpec,
                 bf16: bool | None = None):
        self.towers = towers.eval()
        channels_last(towers)
        self.tokenizer, self.preprocessing, self._spec = tokenizer, preprocessing, spec
        self.bf16 = _native_bf16() if bf16 is None else bf16

    @property
    def spec(self) -> EmbedderSpec:
        """The record that its vectors carry."""
        return self._spec

    def renamed(self, name: str) -> "TorchEmbedder":
        """The same model under another name; its fingerprint stays."""
        return TorchEmbedder(self.towers, self.tokenizer, self.preprocessing, replace(self._spec, name=name), self.bf16)

    @torch.inference_mode()
    def embed_images(self, pictures: Sequence[Picture]) -> Float[np.ndarray, "n dim"]:
        """Pictures → float32 unit vectors [n, dim]."""
        blocks = [np.zeros((0, self.towers.dim), np.float32)]
        for start in range(0, len(pictures), IMAGE_BLOCK):
            pixels = preprocess_batch(pictures[start : start + IMAGE_BLOCK], self.preprocessing)
            batch = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
                features = self.towers.image(batch)
            blocks.append(torch.nn.functional.normalize(features.float(), dim=-1).numpy())
        return np.concatenate(blocks)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Texts → float32 unit vectors [n, dim]."""
        config = self.towers.config.text
        blocks = [np.zeros((0, self.towers.dim), np.float32)]
        for start in range(0, len(texts), TEXT_BLOCK):
            ids = torch.from_numpy(self.tokenizer.encode(list(texts[start : start + TEXT_BLOCK])))
            if isinstance(config, TextConfig) and config.mask_padding:  # what is invisible need not be computed
                vectors = encode_by_length(self.towers.encode_text, ids, config.pad_id, buckets=min(4, len(ids)))
            else:
                vectors = self.towers.encode_text(ids)
            blocks.append(vectors.numpy())
        return np.concatenate(blocks)


def _native_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())
