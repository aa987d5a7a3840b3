"""EVA-CLIP, and Meta's Perception Encoder ("PE-Core"), whose picture towers are both timm's `Eva`.

arXiv 2303.15389 (EVA-CLIP), 2504.13181 (Perception Encoder). EVA-CLIP's weights are published in half precision.
"""

from dataclasses import replace

from diptych.inputs.image import Preprocessing
from diptych.models.checkpoints.entry import COCO, IMAGENET, Check, Entry, Score, Weights, scores
from diptych.models.checkpoints.published.clip import (
    CLIP_TOKENIZER,
    CLIP_TOKENS,
    CUTOFF,
    HALF,
    clip_pixels,
    clip_text,
    measured,
)
from diptych.models.config import EvaConfig, TextConfig, TwoTowerConfig

_EVA02_L = EvaConfig(patch_size=14, width=1024, layers=24, heads=16, mlp_width=2730, projection=768)
_PLAIN = EvaConfig(patch_size=14, heads=16, rope=False, swiglu=False, inner_norm=False, projection=1024)
_EVA01_G = replace(_PLAIN, width=1408, layers=40, mlp_width=6144)
_EVA02_E = replace(_PLAIN, width=1792, layers=64, mlp_width=15_360, post_norm=True)


def _entry(name: str, family: str, licence: str, image: EvaConfig, text: TextConfig, parameters: int, repo: str,
           aliases: tuple[str, ...], preprocessing: Preprocessing, results: tuple[Score, ...],
           checks: tuple[Check, ...] = ()) -> Entry:
    return Entry(
        name=name, family=family, licence=licence, languages=("en",), parameters=parameters,
        weights=(Weights(layout="open_clip_timm", repo=f"timm/{repo}", file="open_clip_model.safetensors"),),
        aliases=aliases, preprocessing=preprocessing, tokenizer=replace(CLIP_TOKENS, length=text.context_length),
        tokenizer_repo=CLIP_TOKENIZER, score_kind="softmax", calibration=CUTOFF, scores=results, checks=checks,
        towers=TwoTowerConfig(image=image, text=text, init_logit_scale=1 / 0.07, init_logit_bias=None))


def _eva(name: str, image: EvaConfig, text: TextConfig, parameters: int, timm: str, tag: str, own: str,
         *results: float, checks: tuple[Check, ...] = ()) -> Entry:
    """`own` is the name of the authors' file. `results`: ImageNet, the 38 sets, Flickr30k and COCO."""
    return _entry(name, "EVA-CLIP", "MIT", image, text, parameters, f"{timm}.{tag}", (f"{name}::{tag}", own),
                  clip_pixels(image.image_size), measured(*results), checks)


_DIAGRAM = Check(
    quantity="probabilities", pictures=("CLIP.png",), texts=("a diagram", "a dog", "a cat"),
    expected=((0.8275, 0.1372, 0.0352),), tolerance=1e-2,  # computed in half precision, at a scale of 100
    source="baaivision/EVA, EVA-CLIP/README.md")

EVA = (
    _eva("EVA02-E-14-plus", _EVA02_E, clip_text(1280, 32, 20, 1024), 5_045_003_777,
         "eva02_enormous_patch14_plus_clip_224",
         "laion2b_s9b_b144k", "EVA02_CLIP_E_psz14_plus_s9B", 82.01, 69.3, 78.86, 51.1),
    _eva("EVA02-E-14", _EVA02_E, clip_text(1024, 24, 16, 1024), 4_704_704_257, "eva02_enormous_patch14_clip_224",
         "laion2b_s4b_b115k", "EVA02_CLIP_E_psz14_s4B", 81.96, 66.9, 78.1, 50.37),
    _eva("EVA02-L-14-336", replace(_EVA02_L, image_size=336), clip_text(768, 12, 12, 768), 428_107_713,
         "eva02_large_patch14_clip_336", "merged2b_s6b_b61k", "EVA02_CLIP_L_336_psz14_s6B", 80.39, 65.83, 78.02, 47.94),
    _eva("EVA02-L-14", _EVA02_L, clip_text(768, 12, 12, 768), 427_780_033, "eva02_large_patch14_clip_224",
         "merged2b_s4b_b131k", "EVA02_CLIP_L_psz14_s4B", 79.77, 64.88, 77.32, 47.47),
    _eva("EVA01-g-14-plus", _EVA01_G, clip_text(1024, 24, 16, 1024), 1_366_677_889, "eva_giant_patch14_plus_clip_224",
         "merged2b_s11b_b114k", "EVA01_CLIP_g_14_plus_psz14_s11B", 79.33, 66.24, 79.0, 50.33),
    _eva("EVA01-g-14", _EVA01_G, clip_text(768, 12, 12, 1024), 1_136_492_161, "eva_giant_patch14_clip_224",
         "laion400m_s11b_b41k", "EVA01_CLIP_g_14_psz14_s11B", 78.52, 63.58, 72.64, 44.06),
    _eva("EVA02-B-16", EvaConfig(), clip_text(512, 12, 8, 512), 149_700_353, "eva02_base_patch16_clip_224",
         "merged2b_s8b_b131k", "EVA02_CLIP_B_psz16_s8B", 74.72, 58.9, 71.46, 42.15, checks=(_DIAGRAM,)),
)

_PE = EvaConfig(
    image_size=384, mlp_width=3072, pool="map", rope_grid=24, rope_offset=1.0, rope_order="xy", swiglu=False,
    inner_norm=False, pre_norm=True, key_bias=True, norm_eps=1e-5)
_PE_TEXT = replace(clip_text(1024, 24, 16, 1024), context_length=32)
_PE_SMALL_TEXT = replace(clip_text(512, 12, 8, 512), context_length=32)


def _pe(name: str, image: EvaConfig, text: TextConfig, parameters: int, own: str, imagenet: float,
        coco: float) -> Entry:
    """`own` is the repository of Meta's own file, which has a layout that is not read here."""
    return _entry(
        name, "Perception Encoder", "Apache-2.0", image, text, parameters, name, (f"{name}::meta", f"facebook/{own}"),
        Preprocessing(size=image.image_size, policy="squash", interpolation="bilinear", mean=HALF, std=HALF),
        scores("facebookresearch/perception_models, README.md (3e352cc)", {IMAGENET: imagenet, COCO: coco}))


PE_CORE = (
    _pe("PE-Core-bigG-14-448",
        replace(_PE, image_size=448, patch_size=14, width=1536, layers=50, heads=16, mlp_width=8960, rope_grid=32,
                rope_offset=0.0, cls_token=False, projection=1280),
        replace(clip_text(1280, 24, 20, 1280), context_length=72), 2_419_267_841, "PE-Core-G14-448", 85.4, 58.1),
    _pe("PE-Core-L-14-336",
        replace(_PE, image_size=336, patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, projection=1024),
        _PE_TEXT, 671_138_817, "PE-Core-L14-336", 83.5, 57.1),
    _pe("PE-Core-B-16", replace(_PE, image_size=224, rope_grid=14, projection=1024), _PE_TEXT, 447_660_545,
        "PE-Core-B16-224", 78.4, 50.9),
    _pe("PE-Core-S-16-384", replace(_PE, width=384, heads=6, mlp_width=1536), _PE_SMALL_TEXT, 87_188_225,
        "PE-Core-S16-384", 72.7, 42.6),
    _pe("PE-Core-T-16-384", replace(_PE, width=192, heads=3, mlp_width=768), _PE_SMALL_TEXT, 69_546_113,
        "PE-Core-T16-384", 62.1, 33.0),
)
