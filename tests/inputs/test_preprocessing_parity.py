"""Pixels against the references: transformers' Pillow processors, and torchvision's transforms on Pillow pictures.

torchvision is not installed; what it does to a Pillow picture is written here from its documentation: `Resize(n)`
scales the shorter side to n and the longer one to int(n · long / short), with Pillow's own antialiased filter;
`CenterCrop` begins at round((length - n) / 2); `ToTensor` divides by 255 in float32; `Normalize` subtracts the mean and
divides by the deviation. open_clip's "longest" is timm's `ResizeKeepRatio` and a padding of its own.
"""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from diptych.inputs import image as inputs
from diptych.inputs.image import Preprocessing, as_picture, decode, preprocess

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # MobileCLIP

FAMILIES = {
    "CLIP": Preprocessing(size=224, policy="shortest_crop", interpolation="bicubic", **CLIP),
    "CLIP L-14-336": Preprocessing(size=336, policy="shortest_crop", interpolation="bicubic", **CLIP),
    "SigLIP": Preprocessing(size=224, policy="squash", interpolation="bicubic", **HALF),
    "SigLIP 512": Preprocessing(size=512, policy="squash", interpolation="bicubic", **HALF),
    "SigLIP 2, PE-Core": Preprocessing(size=384, policy="squash", interpolation="bilinear", **HALF),
    "DFN5B, MetaCLIP 2 378": Preprocessing(size=378, policy="squash", interpolation="bicubic", **CLIP),
    "CLIPA": Preprocessing(size=336, policy="squash", interpolation="bilinear", **IMAGENET),
    "MobileCLIP": Preprocessing(size=256, policy="shortest_crop", interpolation="bilinear", **PLAIN),
    "longest": Preprocessing(size=225, policy="pad", interpolation="bicubic", pad_colour=(0, 0, 0), **CLIP),
}
SIZES = [(640, 480), (480, 641), (333, 333), (1023, 255), (97, 700), (224, 300), (3, 2), (1, 1), (1, 50), (2000, 10)]
family = pytest.mark.parametrize("how", FAMILIES.values(), ids=FAMILIES)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """The hardest picture for a filter: nothing in it is smooth."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def torchvisions(picture: Image.Image, how: Preprocessing) -> np.ndarray:
    """What open_clip's `image_transform_v2` and OpenAI's `_transform` give: float32 [3, size, size]."""
    size, filter_ = how.size, {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}[how.interpolation]
    width, height = picture.size
    if how.policy == "squash":
        square = picture.resize((size, size), filter_)
    elif how.policy == "shortest_crop":
        new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
        left, top = (round((length - size) / 2) for length in new)
        square = picture.resize(new, filter_).crop((left, top, left + size, top + size))
    else:
        ratio = max(height / size, width / size)
        inner = np.asarray(picture.resize((round(width / ratio), round(height / ratio)), filter_))
        before = [(size - length) // 2 for length in inner.shape[:2]]
        after = [(size - length + 1) // 2 for length in inner.shape[:2]]
        padded = [np.pad(inner[..., c], list(zip(before, after, strict=True)), constant_values=how.pad_colour[c])
                  for c in range(3)]
        square = Image.fromarray(np.stack(padded, axis=-1))
    pixels = np.asarray(square).astype(np.float32) / np.float32(255)
    return ((pixels - np.float32(how.mean)) / np.float32(how.std)).transpose(2, 0, 1)


@family
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_is_torchvisions(how, size):
    picture = noise(*size)
    assert np.array_equal(preprocess(picture, how), torchvisions(picture, how))


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 60),
       st.sampled_from(["squash", "shortest_crop", "pad"]), st.sampled_from(["bilinear", "bicubic"]),
       st.sampled_from([CLIP, HALF, IMAGENET, PLAIN]))
def test_every_size_is_torchvisions(width, height, size, policy, interpolation, statistics):
    how = Preprocessing(size=size, policy=policy, interpolation=interpolation, pad_colour=(124, 116, 104), **statistics)
    if policy == "pad" and round(min(width, height) / (max(width, height) / size)) == 0:
        return  # torchvision fails
    picture = noise(width, height)
    assert np.array_equal(preprocess(picture, how), torchvisions(picture, how))


def processor(how: Preprocessing):
    """transformers' processor of the family, configured as its published preprocessor_config.json are."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    square, resample = {"height": how.size, "width": how.size}, {"bilinear": 2, "bicubic": 3}[how.interpolation]
    shared = {"resample": resample, "image_mean": list(how.mean), "image_std": list(how.std)}
    if how.policy == "squash":
        return SiglipImageProcessorPil(size=square, **shared)
    return CLIPImageProcessorPil(size={"shortest_edge": how.size}, crop_size=square, **shared)


def assert_transformers(picture: Image.Image, how: Preprocessing, held: Image.Image | None = None) -> None:
    """Its centre crop rounds down where torchvision's rounds to even: of 3, 7, 11 … pixels too many it leaves out one
    fewer on the left. There its crop is compared with ours of a picture's pixels one to the left."""
    want = processor(how)(held or picture, return_tensors="np")["pixel_values"][0]
    if how.policy == "shortest_crop":
        width, height = picture.size
        long = int(how.size * max(width, height) / min(width, height))
        if (long - how.size) % 4 == 3:
            got = preprocess(picture, how)
            one = (slice(None), slice(None), slice(1, None)) if width > height else (slice(None), slice(1, None))
            other = (slice(None), slice(None), slice(-1)) if width > height else (slice(None), slice(-1))
            assert np.array_equal(got[other], want[one])
            return
    assert np.array_equal(preprocess(picture, how), want)


@pytest.mark.parametrize("how", [how for how in FAMILIES.values() if how.policy != "pad"],
                         ids=[name for name, how in FAMILIES.items() if how.policy != "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_is_transformers(how, size):
    assert_transformers(noise(*size), how)


def test_one_picture_of_four_is_cropped_one_pixel_to_the_right_of_transformers_crop():
    how = Preprocessing(size=24, policy="shortest_crop", **HALF)
    differs = [not np.array_equal(preprocess(noise(24 + extra, 24), how),
                                  processor(how)(noise(24 + extra, 24), return_tensors="np")["pixel_values"][0])
               for extra in range(12)]
    assert differs == [False, False, False, True] * 3


def encoded(picture: Image.Image, format_: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def modes() -> dict[str, bytes]:
    """A file of each sort of pixels."""
    picture = noise(60, 41).filter(ImageFilter.GaussianBlur(1))
    alpha = noise(60, 41, seed=1).getchannel(0)
    soft = picture.copy()
    soft.putalpha(alpha)
    grey = Image.merge("LA", (picture.convert("L"), alpha))
    return {
        "RGB": encoded(picture, "PNG"), "JPEG": encoded(picture, "JPEG"), "alpha": encoded(soft, "PNG"),
        "CMYK": encoded(picture.convert("CMYK"), "TIFF"), "CMYK JPEG": encoded(picture.convert("CMYK"), "JPEG"),
        "palette": encoded(picture.quantize(64), "PNG"), "grey": encoded(picture.convert("L"), "PNG"),
        "palette with a transparent colour": encoded(picture.quantize(64), "PNG", transparency=3),
        "grey and alpha": encoded(grey, "PNG"),
        "two colours": encoded(picture.convert("1"), "PNG"), "YCbCr": encoded(picture.convert("YCbCr"), "TIFF"),
        "lossless WebP with alpha": encoded(soft, "WEBP", lossless=True),
    }


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("how", [FAMILIES["CLIP"], FAMILIES["SigLIP"]], ids=["CLIP", "SigLIP"])
def test_every_mode_is_transformers(mode, how):
    """Transparency lies on white there too. OpenAI's and open_clip's transforms convert to RGB last: they pick pixels
    of a palette instead of averaging, and drop the transparency; in that we follow transformers."""
    data = modes()[mode]
    with Image.open(io.BytesIO(data)) as held:
        assert_transformers(decode(data), how, held)


def test_sixteen_bits_are_the_same_as_eight_where_transformers_clips():
    deep = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint16)
    how = Preprocessing(size=32, **HALF)
    ours = preprocess(decode(encoded(Image.fromarray(deep * 257), "PNG")), how)
    assert np.array_equal(ours, torchvisions(Image.fromarray(deep.astype(np.uint8)).convert("RGB"), how))


STRIPS = pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000)])


@STRIPS
@pytest.mark.parametrize("how", [FAMILIES["SigLIP"], FAMILIES["CLIPA"]], ids=["SigLIP", "CLIPA"])
def test_a_strip_of_20000_to_10_is_squashed_as_the_reference_does(how, size):
    assert np.array_equal(preprocess(noise(*size), how), torchvisions(noise(*size), how))


@STRIPS
@pytest.mark.parametrize("how", [FAMILIES["CLIP"], FAMILIES["MobileCLIP"]], ids=["CLIP", "MobileCLIP"])
def test_of_a_strip_of_20000_to_10_the_middle_is_the_references(how, size):
    """All of it scaled up is 400 MB; of an eighth around the middle, a whole number of pixels before and after, the
    crop is the same. Smoothed, as noise clips between the two passes, whose order is Pillow's own affair since 13."""
    picture = noise(*size).filter(ImageFilter.GaussianBlur(1))
    part = picture.crop((8750, 0, 11_250, 10) if size[0] > size[1] else (0, 8750, 10, 11_250))
    gap = 255 * np.abs(preprocess(picture, how) - torchvisions(part, how)) * np.float32(how.std)[:, None, None]
    assert gap.max() < 1.5 and (gap < 0.5).mean() > 0.999


@STRIPS
def test_a_strip_of_20000_to_10_is_a_line_of_one_pixel_when_it_is_padded(size):
    how = Preprocessing(size=225, policy="pad", pad_colour=(0, 0, 0), **PLAIN)
    got = preprocess(Image.new("RGB", size, "white"), how)
    assert got.max(axis=(0, 2) if size[0] > size[1] else (0, 1)).nonzero()[0].tolist() == [112]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.floats(1, 200), st.integers(1, 50), st.booleans(),
       st.sampled_from(["bilinear", "bicubic"]))
def test_the_middle_of_a_strip_alone_is_the_middle_of_all_of_it(short, ratio, size, tall, interpolation):
    """Pillow may scale columns before rows where it has the choice (since 13); then noise differs by more."""
    width, height = (short, int(short * ratio)) if tall else (int(short * ratio), short)
    how = Preprocessing(size=size, policy="shortest_crop", interpolation=interpolation, **PLAIN)
    picture, filter_ = noise(width, height), Image.Resampling[interpolation.upper()]
    new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    left, top = (round((length - size) / 2) for length in new)
    whole = picture.resize((new[0], height), filter_).resize(new, filter_).crop((left, top, left + size, top + size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_LARGEST", 0)
        got = np.rint(preprocess(picture, how) * 255)
    gap = np.abs(got - np.asarray(whole, np.float32).transpose(2, 0, 1))
    # of 3,000 noisy strips all were within 1 and 99.7% of the pixels equal, in the worst of them 86%
    assert gap.max() <= 2 and (gap == 0).mean() >= 0.8 - 20 / gap.size


def photograph(width: int, height: int) -> Image.Image:
    """Noise with the spectrum of photographs, under text and edges."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectra = [np.fft.rfft2(rng.normal(size=(height, width))) / frequency for _ in range(3)]
    waves = np.stack([np.fft.irfft2(spectrum, (height, width)) for spectrum in spectra], axis=-1)
    pixels = 128 + 55 * (waves - waves.mean((0, 1))) / waves.std((0, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for i in range(20):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        draw.rectangle((x, y, x + width // 9, y + height // 9), fill=tuple(rng.integers(0, 256, 3).tolist()))
        draw.text((width - x, y), "a red boat", fill="white", font_size=20 + 8 * i)
    return picture


@pytest.fixture(scope="module")
def photo():
    return encoded(photograph(2400, 1800), "JPEG", quality=90)


@family
def test_a_large_photograph_that_is_not_bounded_has_every_pixel_of_the_reference(photo, how):
    with Image.open(io.BytesIO(photo)) as held:
        want = torchvisions(held.convert("RGB"), how)
        assert np.array_equal(preprocess(decode(photo, max_side=None), how), want)
        assert np.array_equal(preprocess(as_picture(held, max_side=None), how), want)
        assert np.array_equal(preprocess(as_picture(np.asarray(held), max_side=None), how), want)


@pytest.mark.parametrize(("size", "share", "mean"), [(224, 0.95, 0.6), (384, 0.65, 1.3), (512, 0.5, 2.0)])
def test_a_bounded_photograph_is_as_far_from_the_reference_as_the_documentation_says(photo, size, share, mean):
    how = Preprocessing(size=size, policy="shortest_crop", **PLAIN)
    gap = np.abs(preprocess(decode(photo), how) - preprocess(decode(photo, max_side=None), how)) * 255
    assert share < (gap < 1.5).mean() < 1 and gap.mean() < mean


def test_a_picture_that_is_finished_is_not_copied():
    picture = noise(2000, 1500)
    assert as_picture(picture, max_side=None) is picture
    assert as_picture(picture).size == (1024, 768)
