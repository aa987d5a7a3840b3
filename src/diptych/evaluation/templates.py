"""What is put around a class name to make it a text: the sets that published numbers were made with, and others.

"clip80" and "clip7" are OpenAI's for ImageNet, from notebooks/Prompt_Engineering_for_ImageNet.ipynb of openai/CLIP: the
80 of the paper (arXiv 2103.00020), and the 7 that forward selection found among them, in its order. They are quoted to
the letter ("a origami {}."), as the numbers were. "siglip" is the one of SigLIP's published usage.

Languages other than English have a photo and a picture each. The name is there as a dictionary has it: where a
preposition would ask for a case, an article or an elision, the template is "photo: {}".
"""

from collections.abc import Mapping
from types import MappingProxyType

from diptych.inputs.text import clean

_CLIP80 = (
    "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.", "the origami {}.",
    "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.", "a origami {}.",
    "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.", "a photo of the clean {}.",
    "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.", "a photo of a weird {}.",
    "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.", "a sketch of the {}.", "a embroidered {}.",
    "a pixelated photo of a {}.", "itap of the {}.", "a jpeg corrupted photo of the {}.", "a good photo of a {}.",
    "a plushie {}.", "a photo of the nice {}.", "a photo of the small {}.", "a photo of the weird {}.",
    "the cartoon {}.", "art of the {}.", "a drawing of the {}.", "a photo of the large {}.",
    "a black and white photo of a {}.", "the plushie {}.", "a dark photo of a {}.", "itap of a {}.",
    "graffiti of the {}.", "a toy {}.", "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.",
    "a tattoo of the {}.",
)
_CLIP7 = (
    "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
    "art of the {}.", "a photo of the small {}.",
)
_DRAWING = (
    "a drawing of a {}", "an icon of a {}", "an emoji of a {}", "an illustration of a {}", "a cartoon of a {}",
    "a sticker of a {}", "a symbol of a {}", "clip art of a {}",
)

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "plain": ("{}",), "siglip": ("This is a photo of {}.",), "clip80": _CLIP80, "clip7": _CLIP7, "drawing": _DRAWING,
})
"""Sets of templates by name, each with one {} where the class name goes."""

_LANGUAGES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "ar": ("صورة فوتوغرافية: {}", "صورة: {}"),
    "bn": ("আলোকচিত্র: {}", "ছবি: {}"),
    "cs": ("fotografie: {}", "obrázek: {}"),
    "da": ("foto: {}", "billede: {}"),
    "de": ("Foto: {}", "Bild: {}"),
    "el": ("φωτογραφία: {}", "εικόνα: {}"),
    "en": ("a photo of {}", "a picture of {}"),
    "es": ("una foto de {}", "una imagen de {}"),
    "fa": ("عکس {}", "تصویر {}"),
    "fi": ("valokuva: {}", "kuva: {}"),
    "fil": ("litrato ng {}", "larawan ng {}"),
    "fr": ("photo : {}", "image : {}"),
    "he": ("צילום של {}", "תמונה של {}"),
    "hi": ("फ़ोटो: {}", "चित्र: {}"),
    "hr": ("fotografija: {}", "slika: {}"),
    "hu": ("fénykép: {}", "kép: {}"),
    "id": ("foto {}", "gambar {}"),
    "it": ("una foto di {}", "un’immagine di {}"),
    "ja": ("{}の写真", "{}の画像"),
    "ko": ("{} 사진", "{} 그림"),
    "mi": ("whakaahua: {}", "pikitia: {}"),
    "nl": ("foto: {}", "afbeelding: {}"),
    "no": ("foto: {}", "bilde: {}"),
    "pl": ("zdjęcie: {}", "obrazek: {}"),
    "pt": ("uma foto de {}", "uma imagem de {}"),
    "qu": ("foto: {}", "rikchay: {}"),
    "ro": ("fotografie: {}", "imagine: {}"),
    "ru": ("фотография: {}", "изображение: {}"),
    "sv": ("foto: {}", "bild: {}"),
    "sw": ("picha ya {}", "taswira ya {}"),
    "te": ("ఫోటో: {}", "చిత్రం: {}"),
    "th": ("ภาพถ่ายของ{}", "รูปภาพของ{}"),
    "tr": ("{} fotoğrafı", "{} resmi"),
    "uk": ("фотографія: {}", "зображення: {}"),
    "vi": ("ảnh chụp {}", "hình ảnh {}"),
    "zh": ("{}的照片", "{}的图片"),
})


LANGUAGES = frozenset(_LANGUAGES)
"""That have templates of their own: those of Crossmodal-3600."""


def in_language(code: str) -> tuple[str, ...]:
    """A photo and a picture of {} in a language of Crossmodal-3600, by its code in CLDR; of others the name alone."""
    return _LANGUAGES.get(code, TEMPLATES["plain"])


def fill(template: str, name: str) -> str:
    """The template with the name in place of its {}. ValueError when it has none, or several."""
    if template.count("{}") != 1:
        raise ValueError(f"a template has one {{}} where the class name goes, got {template!r}")
    return template.replace("{}", name)


def canonical(name: str) -> str:
    """A class name or prompt as big_vision's zero-shot evaluation writes it: "_" is a space, no ASCII punctuation,
    lower case, single spaces."""
    return clean(name.replace("_", " "), "siglip")
