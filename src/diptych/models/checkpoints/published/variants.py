"""CLIPs with other text towers: CLIPA's and CoCa's own, RoBERTa, XLM-R, and the encoder of the translator NLLB.

arXiv 2305.07017 and 2306.15658 (CLIPA), 2205.01917 (CoCa), 2309.01859 (NLLB-CLIP). RoBERTa, XLM-R and NLLB run by
`transformers`, which is an extra.
"""

from dataclasses import replace

from diptych.inputs.image import Preprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.checkpoints.entry import XM3600, Entry, Layout, Score, scores
from diptych.models.checkpoints.published import languages
from diptych.models.checkpoints.published.clip import (
    B32,
    BIG_G14,
    CLIP_TOKENIZER,
    CLIP_TOKENS,
    CUTOFF,
    H14,
    L14,
    MULTILINGUAL_RESULTS,
    Size,
    clip_pixels,
    clip_vit,
    measured,
    open_clip_files,
)
from diptych.models.checkpoints.published.text import (
    CLIPA_TOKENS,
    NLLB_1_3B,
    NLLB_600M,
    NLLB_TOKENS,
    ROBERTA_BASE,
    XLM_ROBERTA_BASE,
    XLM_ROBERTA_LARGE,
    XLM_ROBERTA_TOKENS,
)
from diptych.models.config import ImageConfig, TransformersTextConfig, TwoTowerConfig, VitConfig


def _clipa(name: str, size: Size, image_size: int, parameters: int, alias: str, *results: float) -> Entry:
    """The patches' mean instead of the class token's state, and the last position of an unmasked text."""
    assert isinstance(size.image, VitConfig)
    image = replace(size.image, image_size=image_size, pool="mean", cls_token=True, norm_after_pool=True,
                    pre_norm=False)
    text = replace(size.text, vocab_size=32_000, context_length=32, causal=False, pool="last", eos_id=0)
    return Entry(
        name=name, family="CLIPA", licence="Apache-2.0", languages=("en",), parameters=parameters,
        weights=open_clip_files(f"UCSC-VLAA/{name}"), aliases=(alias,),
        towers=TwoTowerConfig(image=image, text=text, init_logit_scale=1 / 0.07, init_logit_bias=None),
        preprocessing=Preprocessing(size=image_size, policy="squash", interpolation="bilinear",
                                    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        tokenizer=CLIPA_TOKENS, tokenizer_repo="google-bert/bert-base-uncased", score_kind="softmax",
        calibration=CUTOFF, scores=measured(*results))


CLIPA = (
    _clipa("ViT-bigG-14-CLIPA-336-datacomp1B", BIG_G14, 336, 2_517_756_417, "ViT-bigG-14-CLIPA-336::datacomp1b",
           83.09, 68.42, 78.28, 50.42),
    _clipa("ViT-bigG-14-CLIPA-datacomp1B", BIG_G14, 224, 2_517_223_937, "ViT-bigG-14-CLIPA::datacomp1b",
           82.7, 68.22, 77.86, 49.96),
    _clipa("ViT-H-14-CLIPA-336-datacomp1B", H14, 336, 968_644_609, "ViT-H-14-CLIPA-336::datacomp1b",
           81.8, 66.77, 76.52, 49.28),
    _clipa("ViT-H-14-CLIPA-datacomp1B", H14, 224, 968_235_009, "ViT-H-14-CLIPA::datacomp1b", 81.52, 66.53, 75.88, 49.1),
    _clipa("ViT-H-14-CLIPA-336-laion2B", H14, 336, 968_644_609, "ViT-H-14-CLIPA-336::laion2b",
           79.1, 64.39, 78.14, 50.13),
    _clipa("ViT-L-14-CLIPA-336-datacomp1B", L14, 336, 414_538_241, "ViT-L-14-CLIPA-336::datacomp1b",
           80.26, 65.7, 74.62, 47.15),
    _clipa("ViT-L-14-CLIPA-datacomp1B", L14, 224, 414_210_561, "ViT-L-14-CLIPA::datacomp1b",
           79.57, 65.36, 73.56, 46.95),
)


def _coca(name: str, size: Size, parameters: int, alias: str, *results: float, general: bool = True,
          note: str = "") -> Entry:
    """The dual encoder of a captioner: 256 learned queries pool the patches, a learned token the text."""
    assert isinstance(size.image, VitConfig)
    text = replace(size.text, context_length=76, pool="cls")
    return Entry(
        name=name, family="CoCa", licence="MIT", languages=("en",), parameters=parameters,
        weights=open_clip_files(f"laion/{name}", "open_clip_custom", first="bin"), aliases=(alias,),
        towers=TwoTowerConfig(image=replace(size.image, pool="query"), text=text, init_logit_scale=1 / 0.07,
                              init_logit_bias=None),
        preprocessing=clip_pixels(), tokenizer=replace(CLIP_TOKENS, length=76), tokenizer_repo=CLIP_TOKENIZER,
        score_kind="softmax", calibration=CUTOFF, scores=measured(*results), general=general, note=note)


COCA = (
    _coca("CoCa-ViT-L-14-laion2B-s13B-b90k", L14, 430_375_937, "coca_ViT-L-14::laion2b_s13b_b90k",
          75.61, 63.27, 74.28, 45.65),
    _coca("mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k", L14, 430_375_937,
          "coca_ViT-L-14::mscoco_finetuned_laion2b_s13b_b90k", 72.04, 61.59, 78.46, 53.74,
          note="tuned to caption COCO"),
    _coca("CoCa-ViT-B-32-laion2B-s13B-b90k", B32, 152_592_641, "coca_ViT-B-32::laion2b_s13b_b90k",
          63.31, 55.33, 63.36, 36.18),
    _coca("mscoco_finetuned_CoCa-ViT-B-32-laion2B-s13B-b90k", B32, 152_592_641,
          "coca_ViT-B-32::mscoco_finetuned_laion2b_s13b_b90k", 0.79, 11.08, 0.74, 0.33, general=False,
          note="tuned to caption COCO, which has destroyed the dual encoder: its scores are those of chance"),
)


def _entry(name: str, family: str, licence: str, image: ImageConfig, text: TransformersTextConfig,
           parameters: int, repo: str, alias: str, layout: Layout, policy: TokenizerPolicy, tokenizer_repo: str,
           spoken: tuple[str, ...], results: tuple[Score, ...], preprocessing: Preprocessing | None = None,
           sigmoid: bool = False) -> Entry:
    return Entry(
        name=name, family=family, licence=licence, languages=spoken, parameters=parameters,
        weights=open_clip_files(repo, layout, first="bin"), aliases=(alias,), tokenizer=policy,
        tokenizer_repo=tokenizer_repo, preprocessing=preprocessing or clip_pixels(image.image_size),
        towers=TwoTowerConfig(image=image, text=text, init_logit_scale=10.0 if sigmoid else 1 / 0.07,
                              init_logit_bias=-10.0 if sigmoid else None),
        score_kind="sigmoid" if sigmoid else "softmax", calibration=None if sigmoid else CUTOFF, scores=results)


def _roberta(name: str, image: ImageConfig, text: TransformersTextConfig, parameters: int, alias: str,
             tokenizer: str, spoken: tuple[str, ...], results: tuple[Score, ...]) -> Entry:
    return _entry(name, "OpenCLIP", "MIT", image, text, parameters, f"laion/{name}", alias, "open_clip_custom",
                  XLM_ROBERTA_TOKENS, f"FacebookAI/{tokenizer}", spoken, results)


ROBERTA = (
    _roberta("CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k", H14.image, XLM_ROBERTA_LARGE, 1_193_014_785,
             "xlm-roberta-large-ViT-H-14::frozen_laion5b_s13b_b90k", "xlm-roberta-large", languages.XLM_ROBERTA_LARGE,
             measured(76.95, 65.15, 77.42, 49.21, xm3600=50.22)),
    _roberta("CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k", B32.image, XLM_ROBERTA_BASE, 366_121_473,
             "xlm-roberta-base-ViT-B-32::laion5b_s13b_b90k", "xlm-roberta-base", languages.XLM_ROBERTA_BASE,
             measured(62.36, 56.43, 64.48, 37.78, xm3600=42.56)),
    _roberta("CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k",
             clip_vit(32, 768, 12, 12, 3072, 512, activation="quick_gelu"), ROBERTA_BASE, 212_723_457,
             "roberta-ViT-B-32::laion2b_s12b_b32k", "roberta-base", languages.ENGLISH,
             measured(61.71, 54.11, 64.34, 37.44)),
)

_SIGLIP_PIXELS = Preprocessing(size=384, policy="squash", interpolation="bicubic")
# SigLIP's towers, frozen while the text towers were trained, and run by open_clip with erf-GELU
_SIGLIP_B = VitConfig(image_size=384, activation="gelu")
_SIGLIP_SO400M = VitConfig(image_size=384, patch_size=14, width=1152, layers=27, heads=16, mlp_width=4304,
                           activation="gelu")


def _nllb(name: str, image: VitConfig, embed: int, large: bool, parameters: int, alias: str, spoken: tuple[str, ...],
          results: tuple[Score, ...], sigmoid: bool = False) -> Entry:
    text = replace(NLLB_1_3B if large else NLLB_600M, projection=embed)
    return _entry(name, "NLLB-CLIP", "CC-BY-NC-4.0", image, text, parameters, f"visheratin/{name}", alias,
                  "open_clip_timm" if sigmoid else "open_clip_custom", NLLB_TOKENS,
                  f"facebook/nllb-200-distilled-{'1.3B' if large else '600M'}", spoken, results,
                  _SIGLIP_PIXELS if sigmoid else None, sigmoid)


def _xm3600(value: float) -> tuple[Score, ...]:
    return scores(MULTILINGUAL_RESULTS, {XM3600: value})


NLLB = (
    _nllb("nllb-siglip-mrl-large", _SIGLIP_SO400M, 1152, True, 1_195_496_514, "nllb-clip-large-siglip::mrl",
          languages.NLLB_WITH_MAORI_AND_QUECHUA, _xm3600(60.79), sigmoid=True),
    _nllb("nllb-siglip-mrl-base", _SIGLIP_B, 768, False, 507_474_178, "nllb-clip-base-siglip::mrl",
          languages.NLLB_WITH_MAORI,
          _xm3600(55.39), sigmoid=True),
    _nllb("nllb-clip-large-siglip", _SIGLIP_SO400M, 1152, True, 1_195_496_514, "nllb-clip-large-siglip::v1",
          languages.NLLB_WITH_MAORI, measured(51.75, 51.84, 72.76, 45.13, xm3600=54.56), sigmoid=True),
    _nllb("nllb-clip-base-siglip", _SIGLIP_B, 768, False, 507_474_178, "nllb-clip-base-siglip::v1",
          languages.NLLB_WITH_MAORI,
          measured(39.09, 44.51, 69.22, 43.15, xm3600=50.67), sigmoid=True),
    _nllb("nllb-clip-large-oc", clip_vit(14, 1280, 32, 16, 5120, 1024), 1024, True, 1_399_216_641,
          "nllb-clip-large::v1",
          languages.NLLB_WITH_MAORI, measured(36.72, 42.27, 60.9, 36.17, xm3600=44.27)),
    _nllb("nllb-clip-base-oc", clip_vit(32, 768, 12, 12, 3072, 512), 512, False, 501_885_185, "nllb-clip-base::v1",
          languages.NLLB, measured(24.32, 33.51, 47.4, 26.49, xm3600=36.48)),
)
