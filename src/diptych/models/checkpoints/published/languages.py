"""In which languages the multilingual models have been measured, and found to work.

The measure is Crossmodal-3600 (arXiv 2205.12522): 3,600 photographs from 36 regions, described in 36 languages. Where
open_clip publishes a model's recall language by language (docs/openclip_multilingual_retrieval_results.csv), a language
counts when the right photograph comes first for a caption at least one time in five. The others count as their
publishers measured them, without Māori and Cusco Quechua, for which there is too little text on the web to rely on.

Models trained on English alone count as English, though the larger ones find something in German or French as well.
"""

ENGLISH = ("en",)

XM3600_LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it", "ja",
    "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh",
)


def without(*codes: str) -> tuple[str, ...]:
    """XM3600's languages but these."""
    return tuple(code for code in XM3600_LANGUAGES if code not in codes)


def with_(*codes: str) -> tuple[str, ...]:
    """XM3600's languages and these."""
    return (*XM3600_LANGUAGES, *codes)


SIGLIP_I18N = without("hi", "sw", "te")
XLM_ROBERTA_BASE = without("bn", "fil", "hi", "sw", "te")
XLM_ROBERTA_LARGE = without("bn", "fil", "sw", "te")
NLLB = XM3600_LANGUAGES
NLLB_WITH_MAORI = with_("mi")
NLLB_WITH_MAORI_AND_QUECHUA = with_("mi", "quz")
