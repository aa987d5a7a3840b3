"""Texts to token ids: one `tokenizers` file plus the family's cleaning, length, padding and end-of-text policy.

The file's own truncation and padding are ignored: published files disagree with the models they ship with (HF's
Siglip2Tokenizer pads on the left by default). We pad on the right to the full length, and truncation keeps the EOS.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from diptych.core.errors import CheckpointError
from diptych.inputs.text import Cleaning, clean


@dataclass(frozen=True, kw_only=True)
class TokenizerPolicy:
    """How a model wants its texts. `bos_id` None means no begin token; `length` counts everything."""

    length: int
    cleaning: Cleaning = "nfkc_lower"
    pad_id: int = 0
    eos_id: int = 1
    bos_id: int | None = None

    def __post_init__(self):
        if self.length < 3:
            raise ValueError(f"length must leave room for a token between begin and end, got {self.length}")


class Tokenizer:
    """A tokenizer file with its policy. `encode` is pure: a text's ids never depend on the other texts."""

    def __init__(self, backend: Backend, policy: TokenizerPolicy):
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.policy = backend, policy

    @classmethod
    def from_file(cls, path: str | Path, policy: TokenizerPolicy) -> "Tokenizer":
        """Read a `tokenizer.json`. CheckpointError if it is none."""
        try:
            return cls(Backend.from_file(str(path)), policy)
        except Exception as error:  # tokenizers raises plain Exception
            raise CheckpointError(f"{path} is not a tokenizer file: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.backend.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> Int[np.ndarray, "n length"]:
        """Ids [n, length], int64, right-padded; an over-long text is cut so that its EOS stays."""
        policy = self.policy
        # a lone surrogate, as JSON can carry, is no text: it becomes "?" as in every UTF-8 encoder
        cleaned = [clean(text, policy.cleaning).encode("utf-8", "replace").decode() for text in texts]
        begin = [] if policy.bos_id is None else [policy.bos_id]
        out = np.full((len(texts), policy.length), policy.pad_id, dtype=np.int64)
        for row, encoding in zip(out, self.backend.encode_batch_fast(cleaned, add_special_tokens=False), strict=True):
            ids = [*begin, *encoding.ids[: policy.length - 1 - len(begin)], policy.eos_id]
            row[: len(ids)] = ids
        return out


def train_bpe(texts: Iterable[str], vocab_size: int, alphabet: int, cleaning: Cleaning = "nfkc_lower") -> Backend:
    """A byte-pair tokenizer with byte fallback, so that no script is ever unknown. Deterministic for given texts.

    `alphabet` bounds the characters that get an id of their own (the most frequent ones); the others become UTF-8
    bytes. Ids: 0 <pad>, 1 <eos>, 2 <unk> (never produced, the format needs it), 3–258 the bytes.
    """
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<pad>", "<eos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, limit_alphabet=alphabet, show_progress=False,
    )
    backend.train_from_iterator((clean(text, cleaning) for text in texts), trainer)
    return backend
