"""The captioner: a text decoder that reads a picture's un-pooled tokens. It trains the tower, and is kept beside it
(`checkpoints/captioner.py`).

arXiv 2306.07915 (CapPa: causal and parallel prediction), 2403.19596 (LocCa: boxes as text), 2502.14786 §2.2 (SigLIP 2:
the text encoder's shape with half its layers, and cross-attention). Beam search and sampling are not here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diptych.models.config import Activation, TextConfig
from diptych.models.layers import Attention, Memory, Mlp, run


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A decoder's sizes. `memory_width` is that of the picture tower's tokens; `tied`: what comes in and what goes out
    is looked up in one table. `start_id` stands before the first token (big_vision: 0, the padding)."""

    vocab_size: int
    context_length: int
    memory_width: int
    width: int = 768
    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    activation: Activation = "gelu_tanh"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    start_id: int = 0
    tied: bool = True

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.layers < 1:
            raise ValueError(f"layers must be at least 1, got {self.layers}")
        if not 0 <= self.start_id < self.vocab_size:
            raise ValueError(f"start_id must be in the vocabulary of {self.vocab_size}, got {self.start_id}")


def decoder_like(text: TextConfig, memory_width: int, *, context_length: int | None = None) -> DecoderConfig:
    """SigLIP 2's: the text tower's shape with half the layers. `context_length` None: the text tower's; texts with
    boxes are longer than captions."""
    return DecoderConfig(
        vocab_size=text.vocab_size, context_length=context_length or text.context_length, memory_width=memory_width,
        width=text.width, layers=max(1, text.layers // 2), heads=text.heads, mlp_width=text.mlp_width,
        activation=text.activation, norm_eps=text.norm_eps, dropout=text.dropout, start_id=text.pad_id)


class CrossAttention(nn.Module):
    """Multi-head attention to a memory of another width."""

    def __init__(self, width: int, memory_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.kv_proj = nn.Linear(width, width), nn.Linear(memory_width, 2 * width)
        self.out_proj = nn.Linear(width, width)

    def read(self, memory: Float[Tensor, "batch len memory_width"]) -> Float[Tensor, "2 batch heads len head_dim"]:
        """Keys and values of the memory: the same for every token that asks."""
        return self.kv_proj(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(
        self, x: Float[Tensor, "batch q_len width"], read: Float[Tensor, "2 batch heads len head_dim"],
        real: Bool[Tensor, "batch len"] | None,
    ) -> Float[Tensor, "batch q_len width"]:
        """What each token gathers from where the memory is `real`."""
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mask = None if real is None else real[:, None, None]
        out = F.scaled_dot_product_attention(q, read[0], read[1], attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class DecoderBlock(nn.Module):
    """A pre-norm block: attention among the text's tokens, attention to the picture, MLP."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        c = config
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(c.width, c.norm_eps) for _ in range(3))
        self.attention = Attention(c.width, c.heads)
        self.cross = CrossAttention(c.width, c.memory_width, c.heads)
        self.mlp = Mlp(c.width, c.mlp_width, c.activation)
        self.dropout = nn.Dropout(c.dropout)

    def forward(
        self, x: Float[Tensor, "batch len width"], memory: Float[Tensor, "batch tokens memory_width"],
        real: Bool[Tensor, "batch tokens"] | None, mask: Bool[Tensor, "batch 1 len len"] | None,
    ) -> Float[Tensor, "batch len width"]:
        """`mask` None: causal."""
        x = x + self.dropout(self.attention(self.norm1(x), mask=mask, causal=mask is None))
        x = x + self.dropout(self.cross(self.norm2(x), self.cross.read(memory), real))
        return x + self.dropout(self.mlp(self.norm3(x)))

    def step(
        self, x: Float[Tensor, "batch 1 width"], read: Float[Tensor, "2 batch heads tokens head_dim"],
        real: Bool[Tensor, "batch tokens"] | None, past: Float[Tensor, "2 batch heads len head_dim"], at: int,
    ) -> Float[Tensor, "batch 1 width"]:
        """The token at one position, given the keys and values of those before it in `past`; its own are added. Never
        with dropout."""
        packed = self.attention.in_proj(self.norm1(x)).unflatten(-1, (3, self.attention.heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4)  # batch heads 1 head_dim
        past[0, :, :, at : at + 1], past[1, :, :, at : at + 1] = k, v
        out = F.scaled_dot_product_attention(q, past[0, :, :, : at + 1], past[1, :, :, : at + 1])
        x = x + self.attention.out_proj(out.transpose(1, 2).flatten(2))
        x = x + self.cross(self.norm2(x), read, real)
        return x + self.mlp(self.norm3(x))


class Decoder(nn.Module):
    """Pictures' tokens and texts to states, of which each predicts the text's token at its position.

    `table` is a token table to share, the text tower's; None: an own one. ValueError when it is of another size.
    `recompute` is for training (`layers.recompute_activations`).
    """

    def __init__(self, config: DecoderConfig, table: nn.Embedding | None = None):
        super().__init__()
        self.config = c = config
        self.recompute = False
        if table is None:
            table = nn.Embedding(c.vocab_size, c.width)
            nn.init.normal_(table.weight, std=0.02)
        if tuple(table.weight.shape) != (c.vocab_size, c.width):
            raise ValueError(f"the token table must be {c.vocab_size} × {c.width}, got "
                             f"{' × '.join(map(str, table.weight.shape))}; leave it out for an own one")
        self.token_embed = table
        self.mask_token = nn.Parameter(torch.randn(c.width) * 0.02)
        self.position = nn.Parameter(torch.randn(c.context_length, c.width) * 0.01)
        self.blocks = nn.ModuleList(DecoderBlock(c) for _ in range(c.layers))
        self.norm_post = nn.LayerNorm(c.width, c.norm_eps)
        self.output = None if c.tied else nn.Linear(c.width, c.vocab_size, bias=False)
        if self.output is not None:
            nn.init.zeros_(self.output.weight)  # as CapPa's: every piece is as likely at first

    @property
    def output_weight(self) -> Float[Tensor, "vocab width"]:
        """The table whose products with the states are the logits."""
        return self.token_embed.weight if self.output is None else self.output.weight

    def forward(
        self, ids: Int[Tensor, "batch len"], memory: Memory, parallel: Bool[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch len width"]:
        """States [batch, len, width]; the one at t predicts `ids[:, t]`, for `losses.captioning.captioning_loss`.

        It has seen the ids before t and the picture. Where `parallel`, it has seen the picture only: every input is the
        mask token, and attention goes both ways (CapPa, SigLIP 2 for half of the captions). Padding is then not hidden,
        it would say how long the text is. ValueError when the texts are longer than the context.
        """
        self._check(ids.shape[1])
        x, mask = self.token_embed(F.pad(ids[:, :-1], (1, 0), value=self.config.start_id)), None
        if parallel is not None:
            x = torch.where(parallel[:, None, None], self.mask_token.to(x.dtype), x)
            causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
            mask = causal | parallel[:, None, None, None]
        x = x + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = run(block, x, memory.tokens, memory.real, mask, recompute=self.recompute)
        return self.norm_post(x)

    @torch.no_grad()
    def predict(
        self, memory: Memory, *, eos_id: int, pad_id: int, length: int | None = None,
        prompt: Int[Tensor, "batch prompt"] | None = None,
    ) -> Int[Tensor, "batch length"]:
        """The likeliest next token again and again (greedy), up to `length` (the context) or `eos_id`, then padding.

        `prompt` is what each text begins with, right-padded: "ARef: {caption} :" asks for a box. ValueError when
        `length` is more than the context.
        """
        c, batch = self.config, memory.tokens.shape[0]
        length = c.context_length if length is None else length
        self._check(length)
        device, blocks = memory.tokens.device, [b for b in self.blocks if isinstance(b, DecoderBlock)]
        read = [block.cross.read(memory.tokens) for block in blocks]
        past = [r.new_zeros(2, batch, c.heads, length, c.width // c.heads) for r in read]
        ids = torch.full((batch, length), pad_id, device=device)
        last = torch.full((batch,), c.start_id, device=device)
        done = torch.zeros(batch, dtype=torch.bool, device=device)
        for at in range(length):
            x = (self.token_embed(last) + self.position[at])[:, None]
            for block, keys, before in zip(blocks, read, past, strict=True):
                x = block.step(x, keys, memory.real, before, at)
            last = (self.norm_post(x[:, 0]) @ self.output_weight.T).argmax(dim=-1).where(~done, pad_id)
            if prompt is not None and at < prompt.shape[1]:
                last = prompt[:, at].where(prompt[:, at] != pad_id, last)
            ids[:, at] = last
            done |= last == eos_id
            if bool(done.all()):
                break
        return ids

    def _check(self, length: int) -> None:
        if length > self.config.context_length:
            raise ValueError(f"texts of {length} tokens are longer than the decoder's {self.config.context_length}; "
                             "cut them, or configure a longer context_length")
