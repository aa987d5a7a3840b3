"""The files in which tokenizers are published, each read as a `Vocabulary`: texts in, ids out, nothing added or cut.

- `tokenizer.json`, of the package `tokenizers`.
- SentencePiece models (arXiv 1808.06226), `*.model`, by the package `sentencepiece`, which is an optional extra.
- `bpe_simple_vocab_16e6.txt.gz`, OpenAI's merges (openai/CLIP, simple_tokenizer.py), turned into a `tokenizers` BPE.

All of them give the ids of the tokenizer.json of the same model. SentencePiece differs from it in three things: a text
that spells out a special token, such as "</s>", is an ordinary text and not that token; where a combining mark follows
a character that NFKC takes apart, the package `tokenizers` normalises both at once or not at all; U+0085 is an unknown
character, and a space to `tokenizers`. Cleaning, lengths and special tokens are not here (`tokenizer.py`).
"""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from diptych.core.errors import CheckpointError

_CLIP_MERGES = 49_152 - 256 - 2
"""How many of the file's 262,144 merges CLIP uses: its vocabulary is 2 · 256 bytes, these, and two special tokens."""

_CLIP_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u0345]+"
"""OpenAI's pattern. Python's `regex`, told to ignore case, finds U+0345 in none of its classes: it is dropped."""


class FastVocabulary:
    """A tokenizer of the package `tokenizers`. What its file says of truncation and padding is ignored."""

    def __init__(self, backend: Backend):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.backend.get_vocab_size()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens, of any length."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]


class SentencePieceVocabulary:
    """A SentencePiece model. `fairseq` numbers its pieces as XLM-R, XLM-V and NLLB do: <s> 0, <pad> 1, </s> 2,
    <unk> 3, and every other piece one later than in the file, where <unk>, <s> and </s> are 0, 1 and 2.

    CheckpointError when `sentencepiece` is not installed; it raises RuntimeError when the bytes are no such model.
    """

    def __init__(self, model: bytes, fairseq: bool = False):
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise CheckpointError("a SentencePiece model is read by the package `sentencepiece`; install it with "
                                  "`pip install 'diptych[sentencepiece]'`, or put the model's tokenizer.json "
                                  "into the same folder") from error
        self._processor = SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._shift = int(fairseq)
        self._unknown: int = self._processor.unk_id()

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._processor.get_piece_size() + self._shift

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens, of any length."""
        found: list[list[int]] = self._processor.encode(list(texts), out_type=int)
        if not self._shift:
            return found
        return [[3 if piece == self._unknown else piece + 1 for piece in pieces] for pieces in found]


Vocabulary: TypeAlias = FastVocabulary | SentencePieceVocabulary


def read_vocabulary(path: Path) -> Vocabulary:
    """The tokenizer file at `path`. Its name says what it is.

    `bpe_simple_vocab_16e6.txt.gz` (any .gz) is OpenAI's; `sentencepiece.bpe.model` is SentencePiece in fairseq's
    numbering; any other .model (`spiece.model`, `tokenizer.model`, `sentencepiece.model`) is SentencePiece in its own;
    everything else a `tokenizer.json`. CheckpointError when the file is not that, or cannot be read.
    """
    try:
        if path.suffix == ".gz":
            return FastVocabulary(read_clip_merges(path.read_bytes()))
        if path.suffix == ".model":
            return SentencePieceVocabulary(path.read_bytes(), fairseq=path.name == "sentencepiece.bpe.model")
        return FastVocabulary(Backend.from_str(path.read_text(encoding="utf-8")))
    except CheckpointError:
        raise
    except Exception as error:  # `tokenizers` raises plain Exception
        raise CheckpointError(f"{path} is not a tokenizer file: {error}") from error


def read_clip_merges(packed: bytes) -> Backend:
    """OpenAI's `bpe_simple_vocab_16e6.txt.gz` as a `tokenizers` BPE of 49,408 ids.

    A text is split into words by OpenAI's pattern, a word's UTF-8 bytes are written as printable characters, and its
    last one is marked. The text must have been cleaned. "<|startoftext|>" and "<|endoftext|>" in a text are the special
    tokens, as in OpenAI's; open_clip's tokenizer spells them in another way. ValueError when there are fewer merges
    than CLIP uses.
    """
    # the first line is a comment
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : 1 + _CLIP_MERGES]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    if len(merges) != _CLIP_MERGES:
        raise ValueError(f"it has {len(merges)} merges, CLIP's vocabulary needs {_CLIP_MERGES}")
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that are printable as they are
    characters = [*map(chr, own), *(chr(256 + i) for i in range(256 - len(own)))]
    special = [AddedToken(token, normalized=False) for token in ("<|startoftext|>", "<|endoftext|>")]
    pieces = [*characters, *(f"{c}</w>" for c in characters), *map("".join, merges), *(t.content for t in special)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([  # pyright: ignore[reportAttributeAccessIssue]
        pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    backend.add_special_tokens(special)  # pyright: ignore[reportUnknownMemberType]
    return backend
