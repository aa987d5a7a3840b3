"""Each family's cleaning. The expected texts of "clip" are what ftfy 6.3 and openai/CLIP's own code give."""

import html
import sys
from pathlib import Path

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.inputs.text import clean

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from reference import open_clip

CLIP = {
    "“curly” ‘single’ it’s": "\"curly\" 'single' it's",
    "ﬁne ﬂuﬃeﬆ ﬅ": "fine fluffiest ſt",
    "ＬＯＵＤ　ＮＯＩＳＥＳ": "loud noises",
    "Ｕﾀｰﾝ": "uターン",
    "&lt;b&gt; &amp;amp; &ldquo;hi&rdquo;": "<b> & \"hi\"",
    "<b>&ldquo;x&rdquo;": "<b>“x”",
    "a\x85b \x93q\x94": "a…b \"q\"",
    "cafe\u0301 CAFÉ": "café café",
    "\ufeffbom\x00x": "bomx",
    "\u2028 a\u2029b\t c\n": "a b c",
    "this&not that": "this¬ that",
    "Ĳssel Ǆ ŉ": "ijssel dž 'n",
    "&#x27;a&#39; &nbsp;x": "'a' x",
    "P&EACUTE;REZ &GTX; &nTILDE;": "pérez >x; &ntilde;",
    "&#65;\n&#65;<\n&amp;#65;": "a a< a",
    "\x1b[36;44mred\x1b[0m": "red",
    "": "",
}


@pytest.mark.parametrize("text", CLIP)
def test_clip_cleans_as_openai_does(text):
    assert clean(text, "clip") == CLIP[text]


def ftfys(text: str) -> str:
    """open_clip's and OpenAI's cleaning before lower-casing, with all of ftfy but the repair of mojibake."""
    text = ftfy.fix_text(text, ftfy.TextFixerConfig(fix_encoding=False))
    return " ".join(html.unescape(html.unescape(text)).split())


PARTS = ["a", "É", "“", "&amp;", "&lt;", "&NTILDE;", "&nbsp;", "&#8220;", "&#x41;", "&hellip", "&notit;", "ﬁ", " ",
         "\n", "\r\n", "\u2028", "\x1b[36m", "[0m", "<", ">", "1", "字", "🐱", "\u0301", ";", "&", "ß", "Ａ", "\x85",
         "\x93", "\x00", "Ã©", "â€™", "\u200b", "\xa0", "İ", "Å", "ｶﾞ", "\u3000", "\ufffc"]


@settings(deadline=None, max_examples=400)
@given(st.lists(st.one_of(st.sampled_from(PARTS), st.characters(exclude_categories=["Cs"])), max_size=16).map("".join))
def test_clip_and_whitespace_clean_as_ftfy_does(text):
    assert clean(text, "whitespace") == ftfys(text)
    assert clean(text, "clip") == ftfys(text).lower()


def test_every_character_is_cleaned_as_by_open_clip():
    theirs = open_clip().tokenizer
    characters = map(chr, [*range(0x3100), *range(0xF900, 0x10000), *range(0x1F000, 0x1FB00)])
    assert [c for c in characters if clean(c, "clip") != theirs._clean_lower(c)] == []


def test_only_mojibake_is_not_repaired():
    theirs = open_clip().tokenizer
    assert (clean("schÃ¶n", "clip"), theirs._clean_lower("schÃ¶n")) == ("schã¶n", "schön")
    assert (clean("ß“a&", "clip"), theirs._clean_lower("ß“a&")) == ('ß"a&', "ߓa&")  # taken for mojibake, and is none


def test_siglip_cleans_as_transformers_does():
    from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

    theirs = SiglipTokenizer.__new__(SiglipTokenizer)  # the cleaning needs no vocabulary
    theirs.do_lower_case = True
    texts = [*CLIP, *(f" {part}A {part}, B!{part}\t" for part in PARTS), "snake_case", "ΣΑΣ", "{x} 'y' #z"]
    assert [clean(text, "siglip") for text in texts] == [theirs.canonicalize_text(text) for text in texts]


def test_where_open_clip_cleans_siglips_texts_in_another_way():
    theirs = open_clip().tokenizer._clean_canonicalize
    assert (clean("snake_case", "siglip"), theirs("snake_case")) == ("snakecase", "snake case")
    assert (clean("&amp; ﬁ", "siglip"), theirs("&amp; ﬁ")) == ("amp ﬁ", "fi")
    assert theirs("A photo, of (two) Cats!") == clean("A photo, of (two) Cats!", "siglip")


def test_whitespace_keeps_the_case():
    assert clean("  A&amp;B\n“C” ", "whitespace") == 'A&B "C"'


def test_siglip_strips_punctuation_and_siglip_2_does_not():
    assert clean("  A photo,\tof (two) Cats! ", "siglip") == "a photo of two cats"
    assert clean("A photo, of (two) Cats!", "lower") == "a photo, of (two) cats!"
    assert clean("¿Qué?  «sí»", "siglip") == "¿qué «sí»"  # ASCII's only


def test_the_bundled_models_cleaning_joins_what_looks_the_same():
    assert clean("  ＲＥＤ\u3000Ⅷ ﬁsh\n", "nfkc_lower") == "red viii fish"
    assert clean(" As It Is ", "none") == " As It Is "


@settings(deadline=None)
@given(st.text(), st.sampled_from(["none", "lower", "nfkc_lower", "siglip"]))
def test_cleaning_twice_is_cleaning_once_where_nothing_is_unescaped(text, cleaning):
    once = clean(text, cleaning)
    again = clean(once, cleaning)
    assert again == once or once.lower() != once, "lower() itself is not idempotent for a few letters (İ)"


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x3100)))
def test_clip_cleaning_ends_and_leaves_single_spaces(text):
    cleaned = clean(text, "clip")
    assert cleaned == " ".join(cleaned.split()) and not set(cleaned) & set("“”‘’ﬁ\u3000\x00")
