"""Where the pictograms come from: seven vendors' drawings in pinned npm packages, matched to Unicode's code points.

Older sets name their drawings in words only. A word is matched through CLDR's and emojibase's English names, then
the set's own aliases, then OpenMoji's names; what is still unknown (letters, EmojiOne's flags) is left out and counted.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diptych.data.npm import Contents, Package
from diptych.data.pictograms_concepts import hexcode
from diptych.data.pictograms_draw import Drawing, svg_of

_NOTO = "Noto Emoji, © Google Inc., https://github.com/googlefonts/noto-emoji"
_FLUENT = "Fluent Emoji, © Microsoft Corporation, https://github.com/microsoft/fluentui-emoji"
_UNICODE = "Unicode CLDR, © Unicode, Inc., https://github.com/unicode-org/cldr-json"

VENDORS: Mapping[str, Package] = {
    "noto": Package(
        name="@iconify-json/noto", version="1.2.9", licence="Apache-2.0", credit=_NOTO,
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "noto-v1": Package(
        name="@iconify-json/noto-v1", version="1.2.5", licence="Apache-2.0", credit=_NOTO,
        sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "twemoji": Package(
        name="@iconify-json/twemoji", version="1.2.5", licence="CC-BY-4.0",
        credit="Twemoji, © Twitter, Inc and other contributors, https://github.com/jdecked/twemoji",
        sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    "emojione": Package(
        name="@iconify-json/emojione", version="1.2.3", licence="CC-BY-4.0",
        credit="EmojiOne 2 / EmojiTwo, © EmojiOne and the EmojiTwo contributors, https://github.com/EmojiTwo/emojitwo",
        sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    "fluent-flat": Package(
        name="@iconify-json/fluent-emoji-flat", version="1.2.6", licence="MIT", credit=_FLUENT,
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
    "fluent-3d": Package(
        name="@lobehub/fluent-emoji-3d", version="1.1.0", licence="MIT", credit=_FLUENT,
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    "openmoji": Package(
        name="@iconify-json/openmoji", version="1.2.29", licence="CC-BY-SA-4.0",
        credit="OpenMoji, the open-source emoji and icon project, © HfG Schwäbisch Gmünd, https://openmoji.org",
        sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
}
EMOJIBASE = Package(
    name="emojibase-data", version="17.0.0", licence="MIT",
    credit="Emojibase, © Miles Johnson, https://github.com/milesj/emojibase",
    sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
ANNOTATIONS = Package(
    name="cldr-annotations-full", version="48.2.0", licence="Unicode-3.0", credit=_UNICODE,
    sha256="28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1")
DERIVED = Package(
    name="cldr-annotations-derived-full", version="48.2.0", licence="Unicode-3.0", credit=_UNICODE,
    sha256="4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e")

PACKAGES = (*VENDORS.values(), EMOJIBASE, ANNOTATIONS, DERIVED)

_SECOND, _THIRD = "1f3fc", "1f3fd"  # medium-light and medium skin


@dataclass(frozen=True, kw_only=True)
class Matched:
    """`sources` are SVG documents or encoded rasters by hexcode; `unmapped` are the names nobody could place."""

    sources: Mapping[str, bytes]
    unmapped: tuple[str, ...]


def slug(name: str) -> str:
    """How iconify writes a name: "flag: Côte d’Ivoire" → "flag-cote-divoire"."""
    plain = unicodedata.normalize("NFKD", name.lower().replace("’", "").replace("'", ""))
    return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode()).strip("-")


def match_iconify(icons: Mapping[str, Any], characters: Mapping[str, str], words: Mapping[str, str],
                  wanted: Iterable[str], lent: Mapping[str, str]) -> Matched:
    """One iconify set by hexcode.

    `icons` is its icons.json and `characters` its chars.json (hexcode → icon), empty in older sets. `words` maps slugs
    to hexcodes, `lent` those of another set. Each icon gets one hexcode and each hexcode one icon; earlier rules win.
    """
    wanted = set(wanted)
    aliases = {a: entry["parent"] for a, entry in icons.get("aliases", {}).items() if set(entry) == {"parent"}}
    guesses = [(hexcode(code), icon) for code, icon in sorted(characters.items())]
    guesses += [(words[icon], icon) for icon in icons["icons"] if icon in words]
    guesses += [(words[alias], icon) for alias, icon in aliases.items() if alias in words]
    guesses += [(lent[icon], icon) for icon in icons["icons"] if icon in lent]
    chosen: dict[str, str] = {}
    placed: set[str] = set()
    for code, icon in guesses:
        if code in wanted and code not in chosen and icon not in placed and icon in icons["icons"]:
            chosen[code] = icon
            placed.add(icon)
    known = placed | set(characters.values())
    return Matched(
        sources={code: svg_of(icons["icons"][chosen[code]], icons).encode() for code in sorted(chosen)},
        unmapped=tuple(sorted(set(icons["icons"]) - known)))


def lent_words(icons: Mapping[str, Any], characters: Mapping[str, str]) -> dict[str, str]:
    """The names and aliases of a set with known code points, for sets without."""
    found = {icon: hexcode(code) for code, icon in sorted(characters.items())}
    aliases = {a: found[e["parent"]] for a, e in icons.get("aliases", {}).items()
               if set(e) == {"parent"} and e["parent"] in found}
    return aliases | found


def match_files(package: Contents, folder: str, wanted: Iterable[str]) -> Matched:
    """Files named by code points. Where a drawing lies there twice, the longest (fully qualified) name is taken."""
    wanted = set(wanted)
    names = {path.removeprefix(folder).rpartition(".")[0]: path for path in package.paths() if path.startswith(folder)}
    chosen: dict[str, str] = {}
    unmapped: list[str] = []
    for name in sorted(names, key=lambda n: (len(n), n)):
        code = hexcode(name)
        if code in wanted:
            chosen[code] = names[name]
        else:
            unmapped.append(name)
    return Matched(sources={code: package.read(chosen[code]) for code in sorted(chosen)}, unmapped=tuple(unmapped))


def swapped_tones(drawings: Mapping[str, Drawing], reference: Mapping[str, Drawing]) -> list[str]:
    """Medium-light hexcodes whose drawing changed places with the medium one, found by comparing how light they are.

    `reference` is the same artist's other set; where it lacks the pair, medium-light must be the lighter one.
    """
    swapped: list[str] = []
    for second in drawings:
        third = second.replace(_SECOND, _THIRD)
        if second == third or third not in drawings:
            continue
        known = second in reference and third in reference
        right = reference[second].lightness > reference[third].lightness if known else True
        if (drawings[second].lightness > drawings[third].lightness) != right:
            swapped.append(second)
    return sorted(swapped)


def put_back(drawings: Mapping[str, Drawing], swapped: Iterable[str]) -> dict[str, Drawing]:
    """The same drawings with each swapped pair exchanged."""
    fixed = dict(drawings)
    for second in swapped:
        third = second.replace(_SECOND, _THIRD)
        fixed[second], fixed[third] = drawings[third], drawings[second]
    return fixed
