"""Google's SigLIP, its multilingual models, MedSigLIP, and SigLIP 2 at fixed and at native resolutions.

arXiv 2303.15343 (SigLIP), 2502.14786 (SigLIP 2), 2507.05201 (MedSigLIP). SigLIP 2's fixed resolutions have the first
SigLIP's architecture, with Gemma's vocabulary. All were trained in JAX with the tanh approximation of GELU, which
transformers keeps; open_clip runs the first SigLIP's text towers and many of the picture towers with erf instead, so
its vectors differ from these in the third decimal. Pixels are transformers' as well: bicubic for the first SigLIP,
bilinear with antialias for SigLIP 2 (bilinear without it in JAX; bicubic for both in open_clip).
"""

from dataclasses import replace
from typing import Literal, NamedTuple

from diptych.inputs.image import Preprocessing
from diptych.inputs.naflex import NaflexPreprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.checkpoints.entry import COCO, FLICKR, IMAGENET, XM3600, Check, Entry, Score, Weights, scores
from diptych.models.checkpoints.published.clip import at_url, measured
from diptych.models.checkpoints.published.languages import ENGLISH, SIGLIP_I18N, XM3600_LANGUAGES
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig

_BUCKET = "https://storage.googleapis.com/big_vision"
_PAPER = "arXiv 2502.14786, table 1"
_DEMO = "big_vision, configs/proj/image_text/{}_demo.ipynb (0127fb6)"


class _Size(NamedTuple):
    width: int
    layers: int
    heads: int
    mlp_width: int


_B, _L, _SO400M, _G_OPT = (
    _Size(768, 12, 12, 3072), _Size(1024, 24, 16, 4096), _Size(1152, 27, 16, 4304), _Size(1536, 40, 16, 6144))

_PAD_IS_EOS = TokenizerPolicy(length=64, cleaning="siglip", pad_id=1, eos_id=1)
_GEMMA = TokenizerPolicy(length=64, cleaning="lower", pad_id=0, eos_id=1)


def _vit(size: _Size, patch_size: int, image_size: int) -> VitConfig:
    return VitConfig(image_size=image_size, patch_size=patch_size, width=size.width, layers=size.layers,
                     heads=size.heads, mlp_width=size.mlp_width)


def _towers(image: VitConfig | NaflexConfig, text: _Size, vocab_size: int, policy: TokenizerPolicy,
            projection: int | None) -> TwoTowerConfig:
    return TwoTowerConfig(image=image, text=TextConfig(
        vocab_size=vocab_size, context_length=policy.length, pad_id=policy.pad_id, width=text.width,
        layers=text.layers, heads=text.heads, mlp_width=text.mlp_width, projection=projection,
        projection_bias=projection is not None))


def _for_open_clip(arch: str) -> Weights:
    return Weights(layout="open_clip_timm", repo=f"timm/{arch}", file="open_clip_model.safetensors")


def _siglip(name: str, size: _Size, patch_size: int, image_size: int, parameters: int, arch: str, npz: str,
            results: tuple[Score, ...], policy: TokenizerPolicy = _PAD_IS_EOS, vocab_size: int = 32_000,
            languages: tuple[str, ...] = ENGLISH, aliases: tuple[str, ...] = (),
            checks: tuple[Check, ...] = ()) -> Entry:
    return Entry(
        name=name, family="SigLIP", licence="Apache-2.0", languages=languages, parameters=parameters,
        weights=(Weights(layout="huggingface_siglip", repo=f"google/{name}"), _for_open_clip(arch),
                 at_url(f"{_BUCKET}/siglip/{npz}.npz", "big_vision")),
        aliases=(f"{arch}::webli", *aliases),
        towers=_towers(_vit(size, patch_size, image_size), size, vocab_size, policy, size.width),
        preprocessing=Preprocessing(size=image_size, policy="squash", interpolation="bicubic"),
        tokenizer=policy, score_kind="sigmoid", scores=results, checks=checks)


_CATS = Check(
    quantity="logits", pictures=("000000039769.jpg",), texts=("a photo of 2 cats", "a photo of 2 dogs"),
    expected=((-0.7567, -10.3354),), tolerance=1e-2,  # the JPEG's decoder alone is good for a few thousandths
    source="transformers, tests/models/siglip/test_modeling_siglip.py")
_L16_384 = Check(quantity="scale and bias", expected=((118.2, -12.7),), tolerance=0.05, source=_DEMO.format("SigLIP"))
_SO16_256 = Check(quantity="scale and bias", expected=((109.9, -15.9),), tolerance=0.05, source=_DEMO.format("SigLIP2"))

SIGLIP = (
    _siglip("siglip-so400m-patch14-384", _SO400M, 14, 384, 877_960_498, "ViT-SO400M-14-SigLIP-384",
            "webli_en_so400m_384_58765454", measured(83.08, 69.21, 82.96, 54.21)),
    _siglip("siglip-so400m-patch14-224", _SO400M, 14, 224, 877_360_306, "ViT-SO400M-14-SigLIP",
            "webli_en_so400m_224_57633886", measured(82.03, 68.08, 75.26, 51.76), replace(_PAD_IS_EOS, length=16)),
    _siglip("siglip-large-patch16-384", _L, 16, 384, 652_478_466, "ViT-L-16-SigLIP-384",
            "webli_en_l16_384_63634585", measured(82.07, 66.83, 81.42, 53.91), checks=(_L16_384,)),
    _siglip("siglip-large-patch16-256", _L, 16, 256, 652_150_786, "ViT-L-16-SigLIP-256",
            "webli_en_l16_256_60552751", measured(80.45, 65.57, 79.04, 52.28)),
    _siglip("siglip-base-patch16-512", _B, 16, 512, 203_791_874, "ViT-B-16-SigLIP-512",
            "webli_en_b16_512_68580893", measured(79.14, 64.59, 79.06, 50.55)),
    _siglip("siglip-base-patch16-384", _B, 16, 384, 203_447_810, "ViT-B-16-SigLIP-384",
            "webli_en_b16_384_68578854", measured(78.49, 63.79, 78.48, 49.9)),
    _siglip("siglip-base-patch16-256", _B, 16, 256, 203_202_050, "ViT-B-16-SigLIP-256",
            "webli_en_b16_256_60500360", measured(76.53, 62.26, 75.04, 48.34)),
    _siglip("siglip-base-patch16-224", _B, 16, 224, 203_155_970, "ViT-B-16-SigLIP",
            "webli_en_b16_224_63724782", measured(76.04, 62.32, 74.68, 47.78), checks=(_CATS,)),
    _siglip("siglip-base-patch16-256-multilingual", _B, 16, 256, 370_626_050, "ViT-B-16-SigLIP-i18n-256",
            "webli_i18n_b16_256_66117334", measured(75.13, 60.68, 72.16, 44.92, xm3600=44.07), vocab_size=250_000,
            languages=SIGLIP_I18N, aliases=("siglip-base-patch16-256-i18n",)),
)

_I18N_RESULTS = scores(_PAPER, {IMAGENET: 80.8, FLICKR: 80.0, COCO: 49.4, XM3600: 50.0})
_SO400M_16_256 = _vit(_SO400M, 16, 256)
_BICUBIC_256 = Preprocessing(size=256, policy="squash", interpolation="bicubic")

SIGLIP_ODD = (
    # The only SigLIP whose text tower has no projection. transformers' architecture must have one: its file holds the
    # identity. The files of the others have none, so they are an entry of their own; the vectors are the same.
    Entry(
        name="siglip-so400m-patch16-256-i18n", family="SigLIP", licence="Apache-2.0", languages=SIGLIP_I18N,
        parameters=1_128_758_962,
        weights=(Weights(layout="huggingface_siglip", repo="google/siglip-so400m-patch16-256-i18n"),),
        towers=_towers(_SO400M_16_256, _SO400M, 250_000, _PAD_IS_EOS, 1152), preprocessing=_BICUBIC_256,
        tokenizer=_PAD_IS_EOS, score_kind="sigmoid", scores=_I18N_RESULTS),
    Entry(
        name="ViT-SO400M-16-SigLIP-i18n-256", family="SigLIP", licence="Apache-2.0", languages=SIGLIP_I18N,
        parameters=1_127_430_706,
        weights=(_for_open_clip("ViT-SO400M-16-SigLIP-i18n-256"),
                 at_url(f"{_BUCKET}/siglip/webli_i18n_so400m_16_256_78061115.npz", "big_vision")),
        aliases=("ViT-SO400M-16-SigLIP-i18n-256::webli",),
        towers=_towers(_SO400M_16_256, _SO400M, 250_000, _PAD_IS_EOS, None), preprocessing=_BICUBIC_256,
        tokenizer=_PAD_IS_EOS, score_kind="sigmoid", scores=_I18N_RESULTS,
        note="the same model as siglip-so400m-patch16-256-i18n, in the files of open_clip and big_vision"),
    # siglip-so400m-patch14-384 as open_clip also offers it: at 378 pixels, of which no patch is dropped
    Entry(
        name="ViT-SO400M-14-SigLIP-378", family="SigLIP", licence="Apache-2.0", languages=ENGLISH,
        parameters=877_960_498, weights=(_for_open_clip("ViT-SO400M-14-SigLIP-384"),),
        aliases=("ViT-SO400M-14-SigLIP-378::webli",),
        towers=_towers(_vit(_SO400M, 14, 378), _SO400M, 32_000, _PAD_IS_EOS, 1152),
        preprocessing=Preprocessing(size=378, policy="squash", interpolation="bicubic"), tokenizer=_PAD_IS_EOS,
        score_kind="sigmoid",
        note="the weights of siglip-so400m-patch14-384, on pictures of 378 pixels; prefer that one"),
    Entry(
        name="medsiglip-448", family="SigLIP", licence="HAI-DEF", languages=ENGLISH, parameters=878_300_338,
        weights=(Weights(layout="huggingface_siglip", repo="google/medsiglip-448"),),
        towers=_towers(_vit(_SO400M, 14, 448), _SO400M, 32_000, _PAD_IS_EOS, 1152),
        preprocessing=Preprocessing(size=448, policy="squash", interpolation="bicubic"), tokenizer=_PAD_IS_EOS,
        score_kind="sigmoid", general=False, gated=True,
        note="for medical pictures and their findings: radiographs, histology, skin, the fundus of the eye; no "
             "diagnosis without a physician"),
)


def _siglip2(name: str, size: _Size, patch_size: int, image_size: int, parameters: int, arch: str | None,
             npz: str, results: tuple[float, float, float, float], text: _Size | None = None,
             checks: tuple[Check, ...] = ()) -> Entry:
    """`results`: ImageNet, Flickr30k, COCO and XM3600. `text` is the text tower's size where it is another."""
    imagenet, flickr, coco, xm3600 = results
    image = _vit(size, patch_size, image_size)
    mirror = (_for_open_clip(arch),) if arch else ()
    return Entry(
        name=name, family="SigLIP 2", licence="Apache-2.0", languages=XM3600_LANGUAGES, parameters=parameters,
        weights=(Weights(layout="huggingface_siglip", repo=f"google/{name}"), *mirror,
                 at_url(f"{_BUCKET}/siglip2/{npz}.npz", "big_vision")),
        aliases=(f"{arch}::webli",) if arch else (),
        towers=_towers(image, text or size, 256_000, _GEMMA, size.width),
        preprocessing=Preprocessing(size=image_size, policy="squash", interpolation="bilinear"), tokenizer=_GEMMA,
        score_kind="sigmoid", checks=checks,
        scores=scores(_PAPER, {IMAGENET: imagenet, FLICKR: flickr, COCO: coco, XM3600: xm3600}))


SIGLIP_2 = (
    # the g-opt picture tower is paired with So400m's text tower, projected to its width
    _siglip2("siglip2-giant-opt-patch16-384", _G_OPT, 16, 384, 1_871_885_426, "ViT-gopt-16-SigLIP2-384",
             "siglip2_g-opt16_384", (85.0, 86.0, 56.1, 48.6), text=_SO400M),
    _siglip2("siglip2-giant-opt-patch16-256", _G_OPT, 16, 256, 1_871_393_906, "ViT-gopt-16-SigLIP2-256",
             "siglip2_g-opt16_256", (84.5, 85.3, 55.7, 48.2), text=_SO400M),
    _siglip2("siglip2-so400m-patch16-512", _SO400M, 16, 512, 1_136_555_698, "ViT-SO400M-16-SigLIP2-512",
             "siglip2_so400m16_512", (84.3, 85.5, 56.0, 48.3)),
    _siglip2("siglip2-so400m-patch16-384", _SO400M, 16, 384, 1_136_039_602, "ViT-SO400M-16-SigLIP2-384",
             "siglip2_so400m16_384", (84.1, 85.3, 56.0, 48.3)),
    _siglip2("siglip2-so400m-patch14-384", _SO400M, 14, 384, 1_136_008_498, None,
             "siglip2_so400m14_384", (84.1, 85.7, 55.8, 48.4)),
    _siglip2("siglip2-so400m-patch16-256", _SO400M, 16, 256, 1_135_670_962, "ViT-SO400M-16-SigLIP2-256",
             "siglip2_so400m16_256", (83.4, 84.4, 55.4, 48.1), checks=(_SO16_256,)),
    _siglip2("siglip2-so400m-patch14-224", _SO400M, 14, 224, 1_135_463_602, "ViT-SO400M-14-SigLIP2",
             "siglip2_so400m14_224", (83.2, 84.3, 55.1, 47.9)),
    _siglip2("siglip2-large-patch16-512", _L, 16, 512, 882_313_218, "ViT-L-16-SigLIP2-512",
             "siglip2_l16_512", (83.5, 85.3, 55.2, 47.4)),
    _siglip2("siglip2-large-patch16-384", _L, 16, 384, 881_854_466, "ViT-L-16-SigLIP2-384",
             "siglip2_l16_384", (83.1, 85.0, 55.3, 47.1)),
    _siglip2("siglip2-large-patch16-256", _L, 16, 256, 881_526_786, "ViT-L-16-SigLIP2-256",
             "siglip2_l16_256", (82.5, 84.1, 54.7, 46.5)),
    _siglip2("siglip2-base-patch16-512", _B, 16, 512, 375_823_874, "ViT-B-16-SigLIP2-512",
             "siglip2_b16_512", (81.2, 84.5, 55.2, 41.4)),
    _siglip2("siglip2-base-patch16-384", _B, 16, 384, 375_479_810, "ViT-B-16-SigLIP2-384",
             "siglip2_b16_384", (80.6, 83.8, 54.6, 41.2)),
    _siglip2("siglip2-base-patch16-256", _B, 16, 256, 375_234_050, "ViT-B-16-SigLIP2-256",
             "siglip2_b16_256", (79.1, 81.7, 53.2, 40.7)),
    _siglip2("siglip2-base-patch16-224", _B, 16, 224, 375_187_970, "ViT-B-16-SigLIP2",
             "siglip2_b16_224", (78.2, 80.7, 52.1, 40.3)),
    _siglip2("siglip2-base-patch32-256", _B, 32, 256, 376_856_066, "ViT-B-32-SigLIP2-256",
             "siglip2_b32_256", (74.0, 75.5, 47.2, 38.3)),
    # siglip2-so400m-patch14-384 as open_clip has it: at 378 pixels, of which no patch is dropped
    Entry(
        name="ViT-SO400M-14-SigLIP2-378", family="SigLIP 2", licence="Apache-2.0", languages=XM3600_LANGUAGES,
        parameters=1_136_008_498, weights=(_for_open_clip("ViT-SO400M-14-SigLIP2-378"),),
        aliases=("ViT-SO400M-14-SigLIP2-378::webli",),
        towers=_towers(_vit(_SO400M, 14, 378), _SO400M, 256_000, _GEMMA, 1152),
        preprocessing=Preprocessing(size=378, policy="squash", interpolation="bilinear"), tokenizer=_GEMMA,
        score_kind="sigmoid",
        note="the weights of siglip2-so400m-patch14-384, on pictures of 378 pixels; prefer that one"),
)

_CIRCLES = Check(
    quantity="logits", pictures=("circle 224x224", "circle 1024x1024", "circle 224x1024"),
    texts=("circle", "ellipsoid", "blue circle on red background", "blue circle with green border on red background",
           "green circle on red background", "a dog", "a blue dog with a green border on a red background"),
    expected=((1.0195, -4.5395, 4.1757, 9.4264, 2.4409, -12.3230, 1.1520),
              (-0.0280, -6.2269, 5.0358, 10.1879, 3.1058, -13.7355, 1.1687),
              (-1.4468, -1.5667, 3.5159, 6.3353, 4.5491, -13.4632, -1.9647)),
    tolerance=1e-2, source="transformers, tests/models/siglip2/test_modeling_siglip2.py")


def _naflex(name: str, size: _Size, parameters: int, arch: Literal["ViT-B-16", "ViT-SO400M-16"], npz: str,
            imagenet: float, coco: float, checks: tuple[Check, ...] = ()) -> Entry:
    image = NaflexConfig(width=size.width, layers=size.layers, heads=size.heads, mlp_width=size.mlp_width)
    return Entry(
        name=name, family="SigLIP 2", licence="Apache-2.0", languages=XM3600_LANGUAGES, parameters=parameters,
        weights=(Weights(layout="huggingface_siglip2", repo=f"google/{name}"), _for_open_clip(f"{arch}-SigLIP2-naflex"),
                 at_url(f"{_BUCKET}/siglip2/{npz}.npz", "big_vision")),
        aliases=(f"{arch}-SigLIP2-naflex::webli",),
        towers=_towers(image, size, 256_000, _GEMMA, size.width),
        preprocessing=NaflexPreprocessing(), tokenizer=_GEMMA, score_kind="sigmoid",
        note="pictures at their own aspect ratio, in up to 256 patches; it was trained with 128 to 1,024",
        scores=scores("big_vision, configs/proj/image_text/README_siglip2.md (0127fb6), at 256 patches",
                      {IMAGENET: imagenet, COCO: coco}), checks=checks)


NAFLEX = (
    _naflex("siglip2-so400m-patch16-naflex", _SO400M, 1_135_670_962, "ViT-SO400M-16", "siglip2_so400m16_naflex",
            83.5, 55.1),
    _naflex("siglip2-base-patch16-naflex", _B, 375_234_050, "ViT-B-16", "siglip2_b16_naflex", 78.5, 51.1,
            checks=(_CIRCLES,)),
)
