"""Apple's MobileCLIP and MobileCLIP2: picture towers for phones, trained with the help of larger models.

arXiv 2311.17049 and 2508.20691. For research only. Not here: the first MobileCLIP's S0, whose text tower has
convolutions, and its S3, S4 and L-14, of which nobody states the preprocessing.
"""

from dataclasses import replace

from diptych.inputs.image import Preprocessing
from diptych.models.checkpoints.entry import COCO, FLICKR, IMAGENET, MEAN_38, Entry, Weights, scores
from diptych.models.checkpoints.published.clip import (
    CLIP_MEAN,
    CLIP_STD,
    CLIP_TOKENIZER,
    CLIP_TOKENS,
    CUTOFF,
    at_url,
    clip_text,
)
from diptych.models.config import FastVitConfig, TextConfig, TwoTowerConfig, VitConfig, mci

_RESULTS = "apple/ml-mobileclip, results/ and README.md (4144bb1)"
_APPLE = "https://docs-assets.developer.apple.com/ml-research/datasets/mobileclip"

# no causal mask but in B
_TEXT, _TEXT_LARGE = replace(clip_text(512, 12, 8, 512), causal=False), replace(clip_text(768, 12, 12, 768),
                             causal=False)
_B = VitConfig(pool="cls", stem="conv", activation="gelu", projection=512, projection_bias=True)
_L_14 = VitConfig(patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, pool="cls", activation="gelu",
                  pre_norm=True, patch_bias=False, projection=768, projection_bias=True, norm_eps=1e-5)


def _pixels(size: int, *, of_clip: bool = False, bicubic: bool = False) -> Preprocessing:
    """Pixels from 0 to 1, or normalised as CLIP's."""
    return Preprocessing(
        size=size, policy="shortest_crop", interpolation="bicubic" if bicubic else "bilinear",
        mean=CLIP_MEAN if of_clip else (0.0, 0.0, 0.0), std=CLIP_STD if of_clip else (1.0, 1.0, 1.0))


def _entry(name: str, family: str, image: VitConfig | FastVitConfig, text: TextConfig, parameters: int, alias: str,
           weights: tuple[Weights, ...], preprocessing: Preprocessing,
           results: tuple[float, float, float, float]) -> Entry:
    """`results`: ImageNet, the 38 sets, Flickr30k and COCO."""
    imagenet, mean_38, flickr, coco = results
    return Entry(
        name=name, family=family, licence="Apple AMLR", languages=("en",), parameters=parameters, weights=weights,
        aliases=(alias,), preprocessing=preprocessing, tokenizer=CLIP_TOKENS, tokenizer_repo=CLIP_TOKENIZER,
        towers=TwoTowerConfig(image=image, text=text, init_logit_scale=1 / 0.07, init_logit_bias=None),
        score_kind="softmax", calibration=CUTOFF,
        scores=scores(_RESULTS, {IMAGENET: imagenet, MEAN_38: mean_38, FLICKR: flickr, COCO: coco}))


def _first(name: str, image: VitConfig | FastVitConfig, text: TextConfig, parameters: int, alias: str, file: str,
           size: int, *results: float) -> Entry:
    imagenet, mean_38, flickr, coco = results
    weights = (Weights(layout="open_clip_timm", repo=f"apple/{name}-OpenCLIP", file="open_clip_model.safetensors"),
               Weights(layout="mobileclip", repo=f"apple/{name}", file=f"{file}.pt"),
               at_url(f"{_APPLE}/{file}.pt", "mobileclip"))
    return _entry(name, "MobileCLIP", image, text, parameters, alias, weights, _pixels(size),
                  (imagenet, mean_38, flickr, coco))


def _second(name: str, image: VitConfig | FastVitConfig, text: TextConfig, parameters: int,
            preprocessing: Preprocessing, *results: float) -> Entry:
    imagenet, mean_38, flickr, coco = results
    file = name.lower().replace("-14", "14").replace("-", "_")
    weights = (Weights(layout="open_clip_timm", repo=f"timm/{name}-OpenCLIP", file="open_clip_model.safetensors"),
               Weights(layout="open_clip_timm", repo=f"apple/{name}", file=f"{file}.pt"))
    return _entry(name, "MobileCLIP2", image, text, parameters, f"{name}::dfndr2b", weights, preprocessing,
                  (imagenet, mean_38, flickr, coco))


MOBILECLIP = (
    _first("MobileCLIP-B-LT", _B, clip_text(512, 12, 8, 512), 149_776_769, "MobileCLIP-B::datacompdr_lt",
           "mobileclip_blt", 224,
           77.22, 65.8, 76.88, 50.03),
    _first("MobileCLIP-B", _B, clip_text(512, 12, 8, 512), 149_776_769, "MobileCLIP-B::datacompdr", "mobileclip_b", 224,
           76.82, 65.2, 77.28, 50.59),
    _first("MobileCLIP-S2", mci(2, 512), _TEXT, 99_103_569, "MobileCLIP-S2::datacompdr", "mobileclip_s2", 256,
           74.44, 63.7, 73.38, 45.37),
    _first("MobileCLIP-S1", mci(1, 512), _TEXT, 84_869_185, "MobileCLIP-S1::datacompdr", "mobileclip_s1", 256,
           72.62, 61.3, 70.96, 44.02),
)

MOBILECLIP2 = (
    _second("MobileCLIP2-L-14", _L_14, _TEXT_LARGE, 427_617_281, _pixels(224, of_clip=True, bicubic=True),
            81.9, 67.8, 77.7, 51.64),
    _second("MobileCLIP2-S4", mci(4, 768), _TEXT_LARGE, 445_151_873, _pixels(256, of_clip=True),
            81.85, 67.5, 78.02, 51.45),
    _second("MobileCLIP2-S3", mci(3, 768), _TEXT_LARGE, 248_682_721, _pixels(256, of_clip=True),
            80.68, 66.8, 77.26, 50.92),
    _second("MobileCLIP2-B", _B, clip_text(512, 12, 8, 512), 149_776_769, _pixels(224), 79.41, 65.8, 76.5, 49.9),
    _second("MobileCLIP2-S2", mci(2, 512), _TEXT, 99_103_569, _pixels(256), 77.24, 64.1, 74.82, 48.82),
    _second("MobileCLIP2-S0", mci(0, 512), _TEXT, 74_775_617, _pixels(256), 71.53, 59.7, 69.22, 43.68),
)
