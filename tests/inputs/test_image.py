import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from diptych.core.errors import PictureError
from diptych.inputs import image as inputs
from diptych.inputs.image import Preprocessing, as_picture, decode, open_picture, preprocess, preprocess_batch, sniff


def scene(width=64, height=40) -> Image.Image:
    """A picture without symmetry: every rotation and mirror image of it differs from it."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1),
                                     (x > width // 2) * 200], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def far(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    assert a.size == b.size, (a.size, b.size)
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}, "GIF": {}}


@pytest.mark.parametrize("format_", [*LOSSLESS, *LOSSY])
def test_every_format_is_read_and_recognised_by_its_bytes(format_):
    inputs._register_heif()
    data = encoded(scene(), format_, **LOSSLESS.get(format_, LOSSY.get(format_)))
    decoded = open_picture(data)
    assert sniff(data[:32]) == decoded.format == format_
    assert (decoded.width, decoded.height, decoded.picture.mode, decoded.plain) == (64, 40, "RGB", True)
    assert far(decoded.picture, scene()) < (1e-6 if format_ in LOSSLESS else 6)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_agrees_with_pillow_and_is_applied_once(format_, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), format_, exif=exif, **LOSSLESS.get(format_, LOSSY.get(format_)))
    with Image.open(io.BytesIO(data)) as raw:
        want = ImageOps.exif_transpose(raw).convert("RGB")
    decoded = open_picture(data)
    assert far(decoded.picture, want) == 0
    assert (decoded.width, decoded.height) == want.size
    assert decoded.plain == (orientation == 1)
    assert far(as_picture(decoded.picture), want) == 0
    with Image.open(io.BytesIO(data)) as raw:
        assert far(as_picture(raw), want) == 0


def test_damaged_exif_does_not_lose_the_picture():
    assert decode(encoded(scene(), "JPEG", exif=b"Exif\0\0not exif at all")).size == (64, 40)


def test_transparency_is_laid_on_white():
    cutout = Image.new("RGBA", (4, 1), (255, 0, 0, 0))
    cutout.putpixel((1, 0), (255, 0, 0, 255))
    cutout.putpixel((2, 0), (0, 0, 0, 128))
    for data in (encoded(cutout, "PNG"), encoded(cutout, "WEBP", lossless=True)):
        assert np.asarray(decode(data))[0].tolist() == [[255] * 3, [255, 0, 0], [127] * 3, [255] * 3]
    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (7, 255))
    assert np.asarray(decode(encoded(grey, "PNG")))[0].tolist() == [[255] * 3, [7] * 3]


def test_palettes_with_and_without_transparency():
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert np.asarray(decode(encoded(palette, "PNG")))[0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert np.asarray(decode(encoded(palette, "PNG", transparency=0)))[0].tolist() == [[255] * 3, [0, 0, 255]]
    assert np.asarray(decode(encoded(palette, "GIF", transparency=1)))[0].tolist() == [[255, 0, 0], [255] * 3]


def test_rgb_with_a_transparent_colour():
    data = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert np.asarray(decode(data)).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes_agree_with_pillow(mode):
    data = encoded(scene().convert(mode), "TIFF")
    assert far(decode(data), scene().convert(mode).convert("RGB")) <= 1


def test_cmyk_jpeg_keeps_its_colours():
    red = np.asarray(decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))).mean((0, 1))
    assert red[0] > 240 and red[1] < 15 and red[2] < 15


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    got = np.asarray(decode(encoded(Image.fromarray(values), format_)))[..., 0]
    assert np.array_equal(got.ravel(), np.rint(values.ravel() / 257).astype(np.uint8))


def test_floating_point_and_32_bit_grey():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF")))[..., 0].ravel(), np.arange(256))
    nan = np.array([[np.nan, 1.0]], np.float32)
    assert np.asarray(decode(encoded(Image.fromarray(nan), "TIFF")))[0, :, 0].tolist() == [0, 255]
    deep = np.array([[0, 65535]], np.int32)
    assert np.asarray(decode(encoded(Image.fromarray(deep), "TIFF")))[0, :, 0].tolist() == [0, 255]


def test_first_frame_of_an_animation():
    red, blue = (Image.new("RGB", (8, 8), c) for c in ("red", "blue"))
    for format_ in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        decoded = open_picture(encoded(red, format_, save_all=True, append_images=[blue]))
        pixel = np.asarray(decoded.picture)[4, 4]
        assert pixel[0] > 200 and pixel[2] < 50, format_
        assert not decoded.plain


def test_one_pixel():
    assert decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")).getpixel((0, 0)) == (9, 8, 7)


@pytest.mark.parametrize("size, want", [((4000, 3000), (1024, 768)), ((3000, 4000), (768, 1024)),
                                        ((800, 600), (800, 600)), ((8000, 500), (6144, 384)), ((3000, 2), (3000, 2))])
def test_large_pictures_are_reduced_and_panoramas_keep_their_height(size, want):
    decoded = open_picture(encoded(scene(*size), "JPEG", quality=95, subsampling=0))
    assert decoded.picture.size == want
    assert (decoded.width, decoded.height) == size
    exact = scene(*size).resize(want, Image.Resampling.BICUBIC)
    assert far(decoded.picture, exact) < 4  # JPEG at 95 and the codec's own halving against one exact reduction


def test_max_side_none_keeps_every_pixel():
    assert decode(encoded(scene(1500, 1200), "PNG"), max_side=None).size == (1500, 1200)


def reason(data, **options) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, **options)
    return caught.value.reason


def test_reasons(tmp_path):
    jpeg = encoded(scene(200, 200), "JPEG")
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
    assert reason(b"") == "empty file"
    assert reason(b"a shopping list") == "not a picture"
    assert reason(b"%PDF-1.7") == "not a picture"
    assert reason(svg) == reason(b"\xef\xbb\xbf  <svg/>") == "SVG is not read"
    assert reason(jpeg[:len(jpeg) // 2]) == "truncated"
    png = encoded(scene(200, 200), "PNG")
    assert reason(png[:len(png) // 2]) == "truncated"
    assert reason(jpeg[:20]) == "damaged"
    assert reason(encoded(scene(), "PNG"), max_pixels=1000) == "too many pixels"
    assert reason(tmp_path / "absent.jpg") == reason(str(tmp_path / "absent.jpg")) == "no such file"
    assert reason(tmp_path) == "cannot be read"
    (tmp_path / "zero.jpg").touch()
    assert reason(tmp_path / "zero.jpg") == "empty file"


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header announces more than its few bytes hold."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_before_decoding():
    assert reason(bomb(60_000, 60_000)) == "too many pixels"
    assert reason(bomb(12_000, 10_000), max_pixels=100_000_000) == "too many pixels"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as outside the tests: Pillow warns, we judge
        assert reason(bomb(12_000, 10_000), max_pixels=100_000_000) == "too many pixels"


def test_a_file_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 10)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(scene(), "PNG"))
    assert reason(path) == "file too large"


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([*LOSSLESS, *LOSSY]), st.data())
def test_any_damage_is_a_picture_or_a_reason(format_, data):
    inputs._register_heif()
    original = encoded(scene(24, 16), format_)
    damaged = bytearray(original[:data.draw(st.integers(1, len(original)))])
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = decode(bytes(damaged), max_pixels=10_000_000)
    except PictureError as error:
        assert error.reason in {"empty file", "not a picture", "truncated", "damaged", "too many pixels"}
    else:
        assert picture.mode == "RGB"


def test_wrongly_named_pictures_are_read(tmp_path):
    (tmp_path / "really a png.jpg").write_bytes(encoded(scene(), "PNG"))
    assert open_picture(tmp_path / "really a png.jpg").format == "PNG"


def test_as_picture_coerces_what_people_hold(tmp_path):
    data = encoded(scene(), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    pixels = np.asarray(scene())
    opaque = np.dstack([pixels, np.full_like(pixels[..., :1], 255)])
    for held in (data, tmp_path / "x.png", str(tmp_path / "x.png"), scene(), pixels, opaque):
        assert far(as_picture(held), scene()) == 0
    assert as_picture(pixels[..., 0]).getpixel((63, 0)) == (255, 255, 255)
    assert as_picture(pixels[..., :1]).getpixel((63, 0)) == (255, 255, 255)
    for bad in (pixels.astype(np.float32), pixels[None], pixels[..., :2]):
        with pytest.raises((ValueError, TypeError)):
            as_picture(bad)
    finished = decode(data)
    assert as_picture(finished) is finished


def test_users_picture_is_left_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encoded(scene(), "PNG", exif=exif))) as opened:
        as_picture(opened)
        assert opened.size == (64, 40) and opened.info


def test_squash_is_one_resize():
    picture = scene(70, 30)
    got = preprocess(picture, Preprocessing(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    want = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC), np.float32).transpose(2, 0, 1) / 255
    assert got.dtype == np.float32 and np.allclose(got, want, atol=1e-6)


def test_normalisation_matches_the_formula():
    how = Preprocessing(size=8, interpolation="bilinear", mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))
    pixels = np.asarray(scene(9, 9).resize((8, 8), Image.Resampling.BILINEAR), np.float64) / 255
    want = ((pixels - np.array(how.mean)) / np.array(how.std)).transpose(2, 0, 1)
    assert np.allclose(preprocess(scene(9, 9), how), want, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (33, 33), (224, 300), (10, 7)])
def test_shortest_crop_agrees_with_the_reference_processor(size):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    picture = scene(*size)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, resample=3)
    want = processor(picture, return_tensors="np")["pixel_values"][0]
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    how = Preprocessing(size=24, policy="shortest_crop", mean=mean, std=std)
    assert np.allclose(preprocess(picture, how), want, atol=2e-5)


def test_pad_keeps_the_whole_picture_in_the_middle():
    how = Preprocessing(size=32, policy="pad", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), pad_colour=(0, 255, 0))
    got = (preprocess(Image.new("RGB", (64, 32), "red"), how) * 255).round().astype(int)
    assert (got[:, 8:24] == np.array([255, 0, 0])[:, None, None]).all()
    assert (got[:, :8] == np.array([0, 255, 0])[:, None, None]).all()
    assert (got[:, 24:] == np.array([0, 255, 0])[:, None, None]).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40),
       st.sampled_from(["squash", "shortest_crop", "pad"]), st.sampled_from(["bilinear", "bicubic"]))
def test_any_size_gives_the_same_square_alone_or_in_a_batch(width, height, size, policy, interpolation):
    how = Preprocessing(size=size, policy=policy, interpolation=interpolation)
    pictures = [scene(width, height), scene(height, width)]
    batch = preprocess_batch(pictures, how)
    assert batch.shape == (2, 3, size, size) and np.isfinite(batch).all()
    assert all(np.array_equal(row, preprocess(picture, how)) for row, picture in zip(batch, pictures, strict=True))
    assert preprocess_batch([], how).shape == (0, 3, size, size)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("policy", ["squash", "shortest_crop", "pad"])
def test_a_very_long_strip_does_not_fill_the_memory(size, policy):
    assert preprocess(Image.new("RGB", size), Preprocessing(size=224, policy=policy)).shape == (3, 224, 224)


@pytest.mark.parametrize("field, value", [("size", 0), ("std", (1.0, 0.0, 1.0)), ("pad_colour", (0, 0, 256))])
def test_preprocessing_is_checked(field, value):
    with pytest.raises(ValueError, match=field):
        Preprocessing(**{"size": 8, field: value})


def test_preprocessing_round_trips_as_configuration():
    from diptych.core import config

    how = Preprocessing(size=224, policy="pad", mean=(0.1, 0.2, 0.3))
    assert config.from_dict(Preprocessing, config.to_dict(how)) == how


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 300))
def test_thumbnails_fit_and_are_never_enlarged(width, height, side):
    small = decode(inputs.thumbnail(scene(width, height), side), max_side=None)
    assert max(small.size) == min(side, max(width, height))
    picture = scene(width, height)
    before = picture.tobytes()
    inputs.thumbnail(picture, side)
    assert picture.tobytes() == before
