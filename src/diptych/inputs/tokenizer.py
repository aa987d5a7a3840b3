"""Texts to token ids: a model's tokenizer file plus the family's cleaning, length, padding and end-of-text policy.

The file's own truncation and padding are ignored: published files disagree with the models they ship with (HF's
Siglip2Tokenizer pads on the left by default). We pad on the right to the full length, and truncation keeps the EOS.
The published families' policies are in `policies.py`, the files that are read in `vocabulary.py`.
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
from diptych.inputs.vocabulary import FastVocabulary, Vocabulary, read_vocabulary

TOKENIZER_FILES = ("tokenizer.json", "bpe_simple_vocab_16e6.txt.gz", "spiece.model", "sentencepiece.bpe.model",
                   "tokenizer.model", "sentencepiece.model")
"""The tokenizer files that are read, in the order in which a folder is searched for them."""


@dataclass(frozen=True, kw_only=True)
class TokenizerPolicy:
    """How a model wants its texts: `bos_id`, the tokens, `eos_id`, then `pad_id` up to `length`, which counts all.

    `bos_id` and `eos_id` None mean no such token. There is always a place for the end token, even in a text that is
    too long; CLIPA, whose reference writes padding over it, has `eos_id` = `pad_id`.
    """

    length: int
    cleaning: Cleaning = "nfkc_lower"
    pad_id: int = 0
    eos_id: int | None = 1
    bos_id: int | None = None

    def __post_init__(self):
        if self.length < 3:
            raise ValueError(f"length must leave room for a token between begin and end, got {self.length}")


class Tokenizer:
    """A tokenizer file with its policy. `encode` is pure: a text's ids never depend on the other texts.

    Any text is allowed. An empty one, or one of spaces only, has no tokens but begin and end; of one that is too long
    the first tokens are taken; a NUL is whatever the file makes of it; a lone surrogate is "?".
    """

    def __init__(self, vocabulary: Vocabulary | Backend, policy: TokenizerPolicy):
        self.vocabulary = FastVocabulary(vocabulary) if isinstance(vocabulary, Backend) else vocabulary
        self.policy = policy

    @classmethod
    def from_file(cls, path: str | Path, policy: TokenizerPolicy) -> "Tokenizer":
        """The tokenizer file at `path`, or the first of `TOKENIZER_FILES` in that folder; its name says how to read it
        (`read_vocabulary`). CheckpointError when there is none, or when it is not what its name says."""
        path = Path(path)
        if path.is_dir():
            path = next((path / name for name in TOKENIZER_FILES if (path / name).is_file()), path)
        if not path.is_file():
            raise CheckpointError(f"{path} has no tokenizer file; {', '.join(TOKENIZER_FILES)} are looked for")
        return cls(read_vocabulary(path), policy)

    @property
    def backend(self) -> Backend:
        """The `tokenizers` object, which can be written as tokenizer.json. ValueError for a SentencePiece model."""
        if not isinstance(self.vocabulary, FastVocabulary):
            raise ValueError("this tokenizer is a SentencePiece model, which cannot be written as tokenizer.json; put "
                             "the tokenizer.json of the same model beside it")
        return self.vocabulary.backend

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.vocabulary.size

    def encode(self, texts: Sequence[str]) -> Int[np.ndarray, "n length"]:
        """Ids [n, length], int64, right-padded; an over-long text is cut so that its EOS stays."""
        policy = self.policy
        # a lone surrogate, as JSON can carry, is no text: it becomes "?" as in every UTF-8 encoder
        cleaned = [clean(text, policy.cleaning).encode("utf-8", "replace").decode() for text in texts]
        begin, end = ([] if i is None else [i] for i in (policy.bos_id, policy.eos_id))
        out = np.full((len(texts), policy.length), policy.pad_id, dtype=np.int64)
        for row, tokens in zip(out, self.vocabulary.ids(cleaned), strict=True):
            ids = [*begin, *tokens[: policy.length - len(end) - len(begin)], *end]
            row[: len(ids)] = ids
        return out

    def decode(self, ids: Int[np.ndarray, "n length"]) -> list[str]:
        """What rows of ids say, each up to its first end token, without begin and padding. Of a text that was not cut
        it is the cleaned text, where the file's decoder is exact (CLIP's puts a space before punctuation). ValueError
        for a SentencePiece model."""
        policy, backend = self.policy, self.backend
        ends = (row.index(policy.eos_id) if policy.eos_id in row else len(row) for row in ids.tolist())
        said = [[i for i in row[:end] if i not in (policy.pad_id, policy.bos_id)]
                for row, end in zip(ids.tolist(), ends, strict=True)]
        # bytes are special tokens of a vocabulary that is trained here: skipping those would lose letters
        texts = backend.decode_batch(said, skip_special_tokens=False)
        end_of_word = getattr(backend.model, "end_of_word_suffix", None)
        return [(text.replace(end_of_word, " ") if end_of_word else text).strip() for text in texts]


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
