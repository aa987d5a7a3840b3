"""Text towers that are other projects' models: XLM-R, RoBERTa, mT5's encoder, NLLB's encoder, run by `transformers`.

As open_clip's `HFTextEncoder`: the padding is masked, the states are pooled, and a projection without bias leads to
the shared space. arXiv 1911.02116 (XLM-R), 1907.11692 (RoBERTa), 2010.11934 (mT5), 2309.01859 (NLLB-CLIP).
`transformers` is an optional extra, imported when the first such tower is built. Decoders, and poolers with weights of
their own, are not here: no published model uses them.
"""

from collections import OrderedDict
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diptych.core.errors import CheckpointError
from diptych.models.config import TransformersTextConfig

_DEPTHS = ("num_hidden_layers", "num_layers", "encoder_layers")
"""What a model's number of layers is called."""


class TransformersText(nn.Module):
    """Token ids [batch, len], right-padded, to features [batch, embed]. A text's vector is the same at every length.

    CheckpointError when `transformers` is not installed.
    """

    def __init__(self, config: TransformersTextConfig):
        super().__init__()
        self.config = c = config
        self.transformer = _encoder(c, c.vocab_size, {})
        self.projection = _projection(c)
        self.register_load_state_dict_post_hook(_restore_tables)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection or self.config.width

    def forward(self, ids: Int[Tensor, "batch len"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        real = (ids != self.config.pad_id).long()
        states = self.transformer(input_ids=ids, attention_mask=real).last_hidden_state
        match self.config.pool:
            case "cls":
                pooled = states[:, 0]
            case "mean":
                weight = real[..., None].to(states.dtype)
                pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return self.projection(pooled)


def _projection(config: TransformersTextConfig) -> nn.Module:
    if config.projection is None:
        return nn.Identity()
    if config.projection_hidden is None:
        return nn.Linear(config.width, config.projection, bias=False)
    return nn.Sequential(OrderedDict(
        fc1=nn.Linear(config.width, config.projection_hidden, bias=False), act=nn.GELU(),
        fc2=nn.Linear(config.projection_hidden, config.projection, bias=False)))


def _encoder(config: TransformersTextConfig, vocab_size: int, changes: dict[str, int]) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise CheckpointError(f"a text tower of type {config.model_type} is run by the package `transformers`; install "
                              "it with `pip install 'diptych[transformers]'`") from error
    settings: dict[str, Any] = {**config.settings, **changes}
    match config.model_type:
        case "xlm-roberta" | "roberta":
            settings |= {"hidden_size": config.width}
            built = {"add_pooling_layer": False}
        case "mt5":
            settings |= {"d_model": config.width, "num_decoder_layers": 0}
            built = {}
        case "m2m_100":
            settings |= {"d_model": config.width, "decoder_layers": 0}
            built = {}
    about = AutoConfig.for_model(config.model_type, vocab_size=vocab_size, pad_token_id=config.pad_id,
                                 eos_token_id=config.eos_id, **settings)
    model = AutoModel.from_config(about, **built)
    return model.encoder if config.model_type in ("mt5", "m2m_100") else model


def _restore_tables(tower: nn.Module, _: object) -> None:
    """What transformers computes once and does not store (position counters, sinusoids) is lost in a tower that was
    built on the meta device. A model of one layer and a few words has the same tables: they depend on neither."""
    assert isinstance(tower, TransformersText)
    lost = [name for name, table in tower.transformer.named_buffers() if table.is_meta]
    if not lost:
        return
    config = tower.config
    with torch.device("cpu"):
        small = _encoder(config, config.pad_id + 2, {depth: 1 for depth in _DEPTHS if depth in config.settings})
    device = next(tower.parameters()).device
    for name in lost:
        where, _, leaf = name.rpartition(".")
        tower.transformer.get_submodule(where).register_buffer(
            leaf, small.get_buffer(name).to(device), persistent=False)
