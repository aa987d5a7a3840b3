"""What a family does to a text before it is tokenised. The cleaning is declared in the model's configuration."""

import functools
import html
import re
import string
import unicodedata
from html.entities import html5
from typing import Literal

Cleaning = Literal["none", "lower", "nfkc_lower", "siglip", "clip", "whitespace"]

_SPACES = re.compile(r"\s+")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL_ESCAPE = re.compile("\x1b\\[[\\d;]*[a-zA-Z]")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, cleaning: Cleaning) -> str:
    """The text as its tokenizer expects it.

    "clip" is OpenAI's, see `_clip`; "whitespace" is the same without lower-casing, open_clip's for the tokenizers of
    other projects. "siglip" is the first SigLIP's as transformers has it: lower case, no ASCII punctuation, single
    spaces. "lower" is SigLIP 2's. "nfkc_lower" is the bundled model's.

    Of SigLIP there are as many cleanings as implementations. big_vision itself lower-cases ASCII only. open_clip cleans
    as "whitespace" does first, and makes "_" a space instead of dropping it; it does so for SigLIP 2 as well.
    transformers lower-cases SigLIP 2's texts letter by letter, so that its capital Σ is σ at the end of a word too.
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
            return _clip(text).lower()
        case "whitespace":
            return _clip(text)


def _clip(text: str) -> str:
    """ftfy.fix_text, html.unescape twice and single spaces, as openai/CLIP's simple_tokenizer.py before lower-casing.

    Of ftfy everything but its repair of mojibake ("schÃ¶n"): that would be a dependency for texts that nobody types,
    and it now and then takes for mojibake what is none (ß before a curly quote becomes a letter of N'Ko).
    """
    # what has tags may be code that shows entities: ftfy leaves them alone from the first such line on
    tags = text.rfind("\n", 0, text.find("<")) + 1 if "<" in text else len(text)
    text = html.unescape(html.unescape(_fix(text[:tags], unescape=True) + _fix(text[tags:], unescape=False)))
    return _SPACES.sub(" ", text).strip()


def _fix(text: str, unescape: bool) -> str:
    """ftfy's entities, curly quotes, Latin ligatures, full and half width, control characters, terminal escapes, and
    NFC, until nothing changes any more."""
    before = None
    while text != before:
        before = text
        if unescape:
            text = _ENTITY.sub(_unescape, text)
        text = unicodedata.normalize("NFC", _TERMINAL_ESCAPE.sub("", text).translate(_plain_characters()))
    return text


def _unescape(entity: re.Match[str]) -> str:
    """A whole entity, "&eacute;" or "&#233;"; of those in capitals, "&EACUTE;", the ones that mean nothing else."""
    text, name = entity[0], entity[0][1:]
    if name.startswith("#"):
        plain = html.unescape(text)
        return text if ";" in plain else plain
    if name in html5:
        return html5[name]
    if name == name.upper() and name.lower() in html5 and html.unescape(text) == text:
        return html5[name.lower()].upper()
    return text


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
