"""What a family does to a text before it is tokenised. The cleaning is declared in the model's configuration."""

import functools
import html
import re
import string
import unicodedata
from typing import Literal

Cleaning = Literal["none", "lower", "nfkc_lower", "siglip", "clip"]

_SPACES = re.compile(r"\s+")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, cleaning: Cleaning) -> str:
    """The text as its tokenizer expects it. "lower" is SigLIP 2's, "nfkc_lower" the bundled model's.

    "siglip" is the first SigLIP's as HF and open_clip have it (big_vision itself only lower-cases): lower case, no
    ASCII punctuation, single spaces. "clip" is OpenAI's, see `_clip`.
    """
    match cleaning:
        case "none":
            return text
        case "lower":
            return text.lower()
        case "nfkc_lower":
            return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()
        case "siglip":
            return _SPACES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).strip()
        case "clip":
            return _clip(text)


def _clip(text: str) -> str:
    """ftfy.fix_text, html.unescape twice, single spaces, lower case, as openai/CLIP's simple_tokenizer.py.

    Of ftfy everything that well-formed text can meet: entities, curly quotes, Latin ligatures, full and half width,
    control characters, NFC. Its repair of mojibake ("schÃ¶n") is not here: it would be a dependency for texts that
    nobody types.
    """
    unescape = "<" not in text  # what has tags may be code that shows entities: ftfy leaves it alone
    before = None
    while text != before:
        before = text
        if unescape:
            text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
        text = unicodedata.normalize("NFC", text.translate(_plain_characters()))
    text = html.unescape(html.unescape(text))
    return _SPACES.sub(" ", text).strip().lower()


@functools.cache
def _plain_characters() -> dict[int, str]:
    """ftfy's character tables: width, ligatures, quotes, and control characters (dropped, or read as Windows-1252)."""
    dropped = [*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)]
    compatible = [0x3000, *range(0xFF01, 0xFFF0), *map(ord, "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬆ")]
    return {
        **dict.fromkeys(dropped, ""),
        **{code: unicodedata.normalize("NFKC", chr(code)) for code in compatible},
        **dict.fromkeys([0x02BC, *range(0x2018, 0x201C)], "'"),
        **dict.fromkeys(range(0x201C, 0x2020), '"'),
        **{code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)},
        ord("ﬅ"): "ſt",  # NFKC goes on to "st"
    }
