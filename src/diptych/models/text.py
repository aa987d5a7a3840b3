"""The text tower: CLIP's causal transformer and SigLIP's bidirectional one, by configuration."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diptych.models.config import TextConfig
from diptych.models.layers import Block


class TextTransformer(nn.Module):
    """Token ids [batch, len ≤ context_length], right-padded, to features [batch, embed]."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = c = config
        self.token_embed = nn.Embedding(c.vocab_size, c.width)
        self.position = nn.Parameter(torch.randn(c.context_length, c.width) * 0.01)
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.mlp_width, c.activation, c.norm_eps, c.dropout) for _ in range(c.layers)
        )
        self.norm_post = nn.LayerNorm(c.width, c.norm_eps)
        self.projection = nn.Linear(c.width, c.projection, bias=c.projection_bias) if c.projection else nn.Identity()
        nn.init.normal_(self.token_embed.weight, std=0.02)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection or self.config.width

    def forward(self, ids: Int[Tensor, "batch len"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm.

        ValueError when `ids` are shorter than the context although the tower sees its padding (pool="last" without
        a mask): SigLIP's vector of a text padded to 5 and to 64 tokens has cosine 0.47.
        """
        c = self.config
        if c.pool == "last" and not c.mask_padding and ids.shape[1] != c.context_length:
            raise ValueError(f"this tower pools the last position: pad to {c.context_length} ids, got {ids.shape[1]}")
        real = ids != c.pad_id
        mask = real[:, None, None, :] if c.mask_padding else None
        x = self.token_embed(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask=mask, causal=c.causal)
        x = self.norm_post(x)
        if c.pool == "mean":
            weight = real[..., None].to(x.dtype)
            return self.projection((x * weight).sum(1) / weight.sum(1).clamp(min=1))
        match c.pool:
            case "last":
                at = torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
            case "argmax":
                at = ids.argmax(dim=1)
            case "eos":
                at = (ids == c.eos_id).int().argmax(dim=1)
        return self.projection(x[torch.arange(len(x), device=x.device), at])


def encode_by_length(
    encode: Callable[[Tensor], Tensor], ids: Int[Tensor, "batch len"], pad_id: int, buckets: int
) -> Float[Tensor, "batch embed"]:
    """`encode(ids)` in `buckets` groups of similar length, each cut to its longest text, rows in the given order.

    Only for towers that do not see their padding (`mask_padding`, or causal): names are short, and a third of the
    time goes into padding otherwise.
    """
    # up to the last real token: a text that says "<pad>" has the id inside as well
    length = ((ids != pad_id) * torch.arange(1, ids.shape[1] + 1, device=ids.device)).amax(dim=1)
    order = length.argsort(stable=True)
    # in steps of four, so that few distinct shapes occur: every new one costs oneDNN a compilation
    longest = [-(-int(length[rows].max()) // 4) * 4 for rows in order.chunk(buckets)]
    parts = [encode(ids[rows, :cut]) for rows, cut in zip(order.chunk(buckets), longest, strict=True)]
    return torch.cat(parts)[order.argsort()]
