"""What people do to a query: slips of the keyboard in any script, and other ways to say the same in English.

For the question how far results move when a query is typed in haste or put differently. Slips change letters within a
word; wrong words, lost spaces and slips inside a Korean syllable are not here. Ways to say the same come from rules
that know a handful of words and no grammar: where they cannot be sure that the meaning stays, they say nothing.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator

import numpy as np

Rng = np.random.Generator

_KEYBOARDS = (  # rows of keys, each half a key to the right of the one above; a space is a key without a letter
    ("qwertyuiop", "asdfghjkl", "zxcvbnm"), ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"), ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
)
_JOINERS = "\u200c\u200d"

_DETERMINERS = {"a", "an", "the"}
_VERBS = {"is", "are", "was", "were", "has", "have", "had", "do", "does", "can", "will"}
_LINKS = {"and", "or", "but", "with", "without", "in", "on", "at", "by", "from", "to", "into", "near", "next", "under",
          "over", "above", "below", "behind", "beside", "between", "against", "across", "through", "around", "for",
          "as", "while", "that", "which", "who", "whose"}
_MEDIUM = re.compile(r"(?:an?|the) (photo|photograph|picture|image) of (.+)", re.IGNORECASE)
_SAME_MEDIUM = {"photo": ("a photograph", "a picture", "an image"), "photograph": ("a photo", "a picture", "an image"),
                "picture": ("an image",), "image": ("a picture",)}


def misspell(text: str, rng: Rng, edits: int = 1) -> str:
    """The text after `edits` slips, each in some word: a neighbouring key, a doubled or dropped letter, two swapped.

    Only words of three letters or more are touched, and they keep the first; numbers and signs stay. What no keyboard
    is known for (there are a Latin, Cyrillic, Greek and Hebrew one) is dropped or swapped only. Vowel signs and accents
    that are characters of their own are letters too, as they are keys. The result differs from the text where it has
    such a word. ValueError for negative `edits`.
    """
    if edits < 0:
        raise ValueError(f"edits must be 0 or more, got {edits}")
    slipped = text
    for _ in range(edits):
        kinds = [[other for other in kind if other != text] for kind in _slips(slipped)]  # one slip may undo another
        if kinds := [kind for kind in kinds if kind]:
            kind = kinds[rng.integers(len(kinds))]
            slipped = kind[rng.integers(len(kind))]
    return slipped


def paraphrases(text: str, rng: Rng) -> list[str]:
    """Other ways to say an English caption or query, without those that equal it, in random order.

    "a picture of" before it or instead of "a photo of", the article gone or definite, "a cat and a dog" the other way
    round, "with a hat, a man" for "a man with a hat", capitals. What is not called a photo stays none: it may be a
    drawing. The text must be English; nobody checks.
    """
    core = text.strip().rstrip(".")
    if not core:
        return []
    said = [core.lower(), core.upper(), core[0].upper() + core[1:] + ".", *_reordered(core)]
    first, _, rest = core.partition(" ")
    if medium := _MEDIUM.fullmatch(core):
        said += [medium[2], *(f"{other} of {medium[2]}" for other in _SAME_MEDIUM[medium[1].lower()])]
    else:
        if not _VERBS & _words(core):
            said += [f"a picture of {_inside(core)}", f"an image of {_inside(core)}"]
        if first.lower() in _DETERMINERS and rest and "and" not in _words(rest):
            said += [rest] + ([f"the {rest}"] if first.lower() != "the" else [])
    others = sorted(set(said) - {text})
    return [others[i] for i in rng.permutation(len(others))]


def _slips(text: str) -> list[list[str]]:
    """Every text that is one slip away, by kind."""
    inner = [i for start, stop in _spans(text) if stop - start >= 3 for i in range(start + 1, stop)]
    pairs = [i for i, after in itertools.pairwise(inner) if after == i + 1 and text[i] != text[after]]
    keys = {i: _NEIGHBOURS.get(text[i].lower(), "") for i in inner}
    return [
        [text[:i] + (key.upper() if text[i].isupper() else key) + text[i + 1 :] for i in inner for key in keys[i]],
        [text[:i] + text[i] + text[i:] for i in inner if keys[i]],
        [text[:i] + text[i + 1 :] for i in inner],
        [text[:i] + text[i + 1] + text[i] + text[i + 2 :] for i in pairs],
    ]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each word begins and ends: letters, and the marks and joiners that are typed between them."""
    start = None
    for i, character in enumerate([*text, " "]):
        kind = unicodedata.category(character)[0]
        if start is None and kind == "L":
            start = i
        elif start is not None and kind not in "LM" and character not in _JOINERS:
            yield start, i
            start = None


def _reordered(core: str) -> list[str]:
    """With its two parts the other way round, where each part is simple enough to be moved."""
    if (parts := core.split(" with ")) and len(parts) == 2 and all(_simple(part) for part in parts):
        return [f"with {parts[1]}, {_inside(parts[0])}"] if " of " not in parts[0] else []
    if (parts := core.split(" and ")) and len(parts) == 2 and all(_simple(part) for part in parts):
        both = [part.split(" ")[0].lower() in _DETERMINERS for part in parts]
        if all(both) or not any(" " in part for part in parts):
            return [f"{_inside(parts[1])} and {_inside(parts[0])}"]
    return []


def _simple(part: str) -> bool:
    """No verb, no clause and no second link: nothing in it that could belong to another word after a move."""
    words = _words(part)
    return (not words & (_LINKS | _VERBS) and not any(word.endswith("ing") for word in words)
            and not re.search(r"[^\w\s'’-]", part))


def _words(text: str) -> set[str]:
    return set(text.lower().split())


def _inside(text: str) -> str:
    """As it is written within a sentence: an article has no capital; of other words nobody knows."""
    first, space, rest = text.partition(" ")
    return (first.lower() if first.lower() in _DETERMINERS else first) + space + rest


def _neighbours(rows: tuple[str, ...]) -> dict[str, str]:
    """The letters around each letter."""
    at = {(row, column): key for row, keys in enumerate(rows) for column, key in enumerate(keys) if key != " "}
    around = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, 0), (1, -1))
    return {key: "".join(at[place] for dr, dc in around if (place := (row + dr, column + dc)) in at)
            for (row, column), key in at.items()}


_NEIGHBOURS = {key: near for rows in _KEYBOARDS for key, near in _neighbours(rows).items()}
