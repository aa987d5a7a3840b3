"""The EVA picture tower: EVA-CLIP (arXiv 2303.15389) and the Perception Encoder, PE-Core (arXiv 2504.13181).

A ViT with any of: rotary positions of two axes beside the learned ones (arXiv 2104.09864), SwiGLU (arXiv 2002.05202),
norms inside attention and MLP, norms after the branches instead of before them, MAP pooling. It computes what timm's
`Eva` computes. Layer scale, register tokens and learned rotary frequencies, which no CLIP has, are not here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import EvaConfig
from diptych.models.layers import MapPool, Mlp


class Eva(nn.Module):
    """Pixels [batch, 3, size, size], normalised as the checkpoint's preprocessing says, to features [batch, embed]."""

    def __init__(self, config: EvaConfig):
        super().__init__()
        self.config = c = config
        # a norm that follows at once makes the bias of the patches superfluous: PE has none
        self.patch_embed = nn.Conv2d(3, c.width, c.patch_size, stride=c.patch_size, bias=not c.pre_norm)
        self.cls_token = nn.Parameter(torch.randn(c.width) * c.width**-0.5) if c.cls_token else None
        self.position = nn.Parameter(torch.randn(c.grid**2 + c.cls_token, c.width) * c.width**-0.5)
        self.norm_pre = nn.LayerNorm(c.width, c.norm_eps) if c.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(EvaBlock(c) for _ in range(c.layers))
        self.norm_post = nn.LayerNorm(c.width, c.norm_eps)
        self.pool = None
        if c.pool == "map":
            self.pool = MapPool(c.width, c.pool_heads, 4 * c.width, c.activation, c.norm_eps)
        self.projection = nn.Linear(c.width, c.projection)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection

    def tokens(
        self, pixels: Float[Tensor, "batch 3 height width"], blocks: int | None = None
    ) -> Float[Tensor, "batch len channels"]:
        """The sequence after the first `blocks` blocks (all), before final norm and pooling; cls first, if any."""
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], 1, -1), x], dim=1)
        x = self.norm_pre(x + self.position)
        # computed anew for each batch, in 0.14 ms for EVA02-B: a stored table would be lost when a tower that was built
        # on the meta device is given its weights
        rope = rotary(self.config, x.device) if self.config.rope else None
        for block in self.blocks[:blocks]:
            x = block(x, rope)
        return x

    def patch_tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch patches channels"]:
        """As `tokens`, without the class token: row by row of the grid."""
        return self.tokens(pixels)[:, int(self.config.cls_token) :]

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        x = self.tokens(pixels)
        pooled = self.norm_post(x[:, 0]) if self.pool is None else self.pool(self.norm_post(x))
        return self.projection(pooled)


class EvaBlock(nn.Module):
    """A transformer block whose norms stand before the two branches, or after them (`post_norm`)."""

    def __init__(self, config: EvaConfig):
        super().__init__()
        c = config
        self.post_norm = c.post_norm
        self.norm1, self.norm2 = nn.LayerNorm(c.width, c.norm_eps), nn.LayerNorm(c.width, c.norm_eps)
        self.attention = EvaAttention(c)
        self.mlp = SwiGlu(c) if c.swiglu else Mlp(c.width, c.mlp_width, c.activation)

    def forward(
        self, x: Float[Tensor, "batch len width"], rope: Float[Tensor, "2 len head_width"] | None
    ) -> Float[Tensor, "batch len width"]:
        """x + attention(norm(x)), then + mlp(norm(·)); with `post_norm` x + norm(attention(x)), then + norm(mlp(·))."""
        if self.post_norm:
            x = x + self.norm1(self.attention(x, rope))
            return x + self.norm2(self.mlp(x))
        x = x + self.attention(self.norm1(x), rope)
        return x + self.mlp(self.norm2(x))


class EvaAttention(nn.Module):
    """Self-attention with q, k, v packed; queries and keys may be rotated, and the heads' output normalised.

    Where the published model has no key bias (`key_bias` False) ours is zero, and stays so in training: it gets no
    gradient, so that the weights can go back into the published layout.
    """

    def __init__(self, config: EvaConfig):
        super().__init__()
        c = config
        self.heads, self.key_bias = c.heads, c.key_bias
        self.in_proj = nn.Linear(c.width, 3 * c.width)
        self.norm = nn.LayerNorm(c.width, c.norm_eps) if c.inner_norm else nn.Identity()
        self.out_proj = nn.Linear(c.width, c.width)
        nn.init.zeros_(self.in_proj.bias)

    def forward(
        self, x: Float[Tensor, "batch len width"], rope: Float[Tensor, "2 len head_width"] | None
    ) -> Float[Tensor, "batch len width"]:
        """`rope` is `rotary`'s table, None where positions are learned only."""
        if self.key_bias or not torch.is_grad_enabled():
            packed = self.in_proj(x)
        else:
            q, k, v = self.in_proj.bias.chunk(3)
            packed = F.linear(x, self.in_proj.weight, torch.cat([q, k.detach(), v]))
        packed = packed.unflatten(-1, (3, self.heads, -1))
        turned = packed[:, :, :2] if rope is None else rotate(packed[:, :, :2], rope)
        q, k, v = (t.transpose(1, 2) for t in (*turned.unbind(2), packed[:, :, 2]))  # batch heads len head_width
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(self.norm(out.transpose(1, 2).flatten(2)))


class SwiGlu(nn.Module):
    """fc2(norm(silu(gate) · value)); gate and value are the two halves of fc1."""

    def __init__(self, config: EvaConfig):
        super().__init__()
        c = config
        self.fc1, self.fc2 = nn.Linear(c.width, 2 * c.mlp_width), nn.Linear(c.mlp_width, c.width)
        self.norm = nn.LayerNorm(c.mlp_width, c.norm_eps) if c.inner_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x → fc2(norm(silu(gate) · value))."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(self.norm(F.silu(gate) * value))


def rotary(config: EvaConfig, device: torch.device) -> Float[Tensor, "2 len head_width"]:
    """Cosines and sines of the angle by which `rotate` turns each pair of channels, in float32.

    Half of a head's pairs turn with one coordinate of the patch and half with the other, each at its own speed, from
    1 to nearly 10,000 times slower; a grid other than `rope_grid` is stretched to it. The class token does not turn.
    The sines have the sign with which they meet the pair's other channel: −, +, −, +, …
    """
    c = config
    speeds = c.width // c.heads // 4
    speed = 1.0 / 10_000.0 ** (torch.arange(speeds, dtype=torch.float32, device=device) / speeds)
    along = (torch.arange(c.grid, dtype=torch.float32, device=device) + c.rope_offset) / c.grid * c.rope_grid
    down, across = along[:, None].expand(c.grid, c.grid), along.expand(c.grid, c.grid)
    place = torch.stack([down, across] if c.rope_order == "ij" else [across, down], dim=-1)
    angle = (place[..., None] * speed).reshape(c.grid**2, 2 * speeds)
    angle = F.pad(angle, (0, 0, int(c.cls_token), 0))
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], dim=-1), torch.stack([-sin, sin], dim=-1)]).flatten(2)


def rotate(
    x: Float[Tensor, "batch len parts heads head_width"], rope: Float[Tensor, "2 len head_width"]
) -> Float[Tensor, "batch len parts heads head_width"]:
    """Each pair of neighbouring channels (a, b) turned by its angle: (a cos − b sin, b cos + a sin)."""
    cos, sin = rope.to(x.dtype)[:, :, None, None]
    swapped = torch.stack([x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)
