"""Encoded pictures to arrays: decode, orient, bound, resize, normalise. The same path in training, index and service.

A decoded picture is upright, RGB, uint8, opaque (transparency is laid on white) and by default bounded: of a
48-megapixel photograph no model sees more than about a thousand pixels a side, so the decoder is asked for no more
(JPEG decodes straight to 1/2, 1/4 or 1/8 of the size). Colour profiles are ignored, as by every published model of
these families. Not here: SVG, camera raw formats, video.

`preprocess` gives the pixels of the references, torchvision's transforms and transformers' Pillow processors, to the
last bit; CLIP's crop is torchvision's, transformers' begins one pixel earlier in one picture of four. Reducing a
picture twice is not the same as once: of a bounded photograph's pixels 97% are within 1/255 at a model's 224 pixels,
70% at 384 and 55% at 512, and a random ViT's vectors have cosines of 0.9999, 0.9999 and 0.9997 (noise with the spectrum
of photographs, under text and edges). `max_side=None` is exact; a 12-megapixel JPEG then takes twice the time.
big_vision's own bilinear reduction without antialiasing is not here.
"""

import functools
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError

from diptych.core.errors import PictureError
from diptych.core.types import Picture

MAX_PIXELS = 178_956_970
"""Pillow's own limit for a decompression bomb: 179 megapixels, above what nearly every camera writes."""

MAX_SIDE = 1024
"""A decoded picture is reduced to this longer side, so that a batch of photographs fits in memory."""

MIN_SHORT_SIDE = 384
"""… but a panorama keeps at least this shorter side where it has it."""

MAX_BYTES = 1 << 28
"""Larger files are refused before they are read: 256 MiB."""

PictureLike: TypeAlias = str | PathLike[str] | bytes | Picture | UInt8[np.ndarray, "h w *c"]
"""What people hold pictures in: a path, encoded bytes, a PIL picture, or a uint8 array (HW, HWC with 1, 3 or 4 c)."""

EMPTY = "empty file"
NOT_A_PICTURE = "not a picture"
SVG = "SVG is not read"
TRUNCATED = "truncated"
DAMAGED = "damaged"
TOO_MANY_PIXELS = "too many pixels"
TOO_LARGE = "file too large"
NO_SUCH_FILE = "no such file"
PERMISSION_DENIED = "permission denied"
UNREADABLE = "cannot be read"

# Refused pictures are reported by us, with a reason; Pillow's warning would only repeat it on stderr.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90}
_ORIENTATION_TAG = 0x0112
_LARGEST = 1 << 24
"""A picture is scaled as a whole and then cropped up to this many pixels, 64 MiB in Pillow: 334 : 1 at 224 pixels. Of
longer strips the middle comes out the same in 99.9% of the pixels; the box that Pillow cuts has single precision."""
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture with what its file said. `width` and `height` are the upright file's, before any reduction.

    `plain` is False for what a browser would not show as we see it: rotated by a tag, or animated.
    """

    picture: Picture
    width: int
    height: int
    format: str
    plain: bool


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes the square array a tower was trained on. Saved with every checkpoint.

    `policy`: "squash" ignores the aspect ratio (SigLIP), "shortest_crop" scales the shorter side to `size` and crops
    the middle (CLIP), "pad" scales the longer side and fills with `pad_colour`. `mean` and `std` are of RGB in [0, 1].
    """

    size: int
    policy: Literal["squash", "shortest_crop", "pad"] = "squash"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    pad_colour: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size is a number of pixels, at least 1, got {self.size}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 in every channel, got {self.std}")
        if not all(0 <= c <= 255 for c in self.pad_colour):
            raise ValueError(f"pad_colour is three numbers in 0..255, got {self.pad_colour}")


def sniff(head: bytes) -> str | None:
    """The picture format that a file's first bytes (32 are enough) announce, or None."""
    fixed = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF",
             b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"}
    for signature, name in fixed.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[i:i + 4] for i in range(16, min(len(head), 32), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    return None


def read_file(path: str | PathLike[str]) -> bytes:
    """The bytes of a picture file. PictureError says why not: missing, no permission, too large."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(why_unreadable(error), str(path)) from error
    return of_allowed_size(data)


def of_allowed_size(data: bytes) -> bytes:
    """The bytes themselves. PictureError if they are more than MAX_BYTES."""
    if len(data) > MAX_BYTES:
        raise PictureError(TOO_LARGE, f"more than {MAX_BYTES >> 20} MiB")
    return data


def why_unreadable(error: OSError) -> str:
    """A short reason, stable enough to count by, for a file that could not be opened or read."""
    match error:
        case FileNotFoundError():
            return NO_SUCH_FILE
        case PermissionError():
            return PERMISSION_DENIED
        case _:
            return UNREADABLE


def decode(data: bytes | str | PathLike[str], *, max_pixels: int = MAX_PIXELS,
           max_side: int | None = MAX_SIDE) -> Picture:
    """An encoded picture, or the file of that path, as an upright opaque RGB picture. See `open_picture`."""
    return open_picture(data, max_pixels=max_pixels, max_side=max_side).picture


def open_picture(data: bytes | str | PathLike[str], *, max_pixels: int = MAX_PIXELS,
                 max_side: int | None = MAX_SIDE) -> Decoded:
    """Decode, and keep what the file said about itself. The first frame of an animation, the first page of a TIFF.

    PictureError's reason is one of this module's constants. More than `max_pixels` is refused before decoding;
    `max_side` None keeps every pixel.
    """
    if not isinstance(data, bytes):
        data = read_file(data)
    format_ = sniff(data[:32])
    if format_ is None:
        raise PictureError(*_why_not_a_picture(data))
    if format_ == "HEIF":
        _register_heif()
    try:
        with Image.open(io.BytesIO(data), formats=[format_]) as image:
            return _read(image, format_, max_pixels, max_side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(TOO_MANY_PIXELS, str(error)) from error
    except PictureError:
        raise
    except Exception as error:  # a damaged file makes the codecs raise nearly anything; it is reported with a reason
        reason = TRUNCATED if "truncated" in str(error).lower() or "premature" in str(error).lower() else DAMAGED
        # Pillow names the stream by its address
        why = "no decoder reads it" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
        raise PictureError(reason, why) from error


def as_picture(picture: PictureLike, *, max_side: int | None = MAX_SIDE) -> Picture:
    """Whatever people hold pictures in, as `decode` would have given it with this `max_side`."""
    if isinstance(picture, Image.Image):
        if type(picture) is Image.Image and _is_finished(picture, max_side):
            return picture
        picture.load()  # TIFF turns itself while loading, and forgets the tag
        return _finish(picture, _orientation(picture), max_side)
    if isinstance(picture, np.ndarray):
        shape = picture.shape
        if picture.dtype != np.uint8 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
            raise ValueError(f"an array picture is uint8 of shape [h, w] or [h, w, 1 | 3 | 4] in [0, 255], "
                             f"got {picture.dtype} {list(shape)}")
        grey = len(shape) == 3 and shape[2] == 1
        return _finish(Image.fromarray(picture[:, :, 0] if grey else picture), 1, max_side)
    if not isinstance(picture, str | PathLike | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("a picture is a path, encoded bytes, a PIL picture or a uint8 array, got "
                        f"{type(picture).__name__}")
    return decode(picture, max_side=max_side)


def preprocess(picture: Picture, preprocessing: Preprocessing) -> Float[np.ndarray, "3 size size"]:
    """One picture as the float32 array [3, size, size] its tower expects: (RGB / 255 − mean) / std."""
    pixels = np.asarray(_square(picture, preprocessing)).transpose(2, 0, 1)
    mean, std = (np.array(of_rgb, np.float32)[:, None, None] for of_rgb in (preprocessing.mean, preprocessing.std))
    out = np.empty(pixels.shape, np.float32)
    np.divide(pixels, np.float32(255), out=out)  # three steps, each rounded: the references' own bits
    out -= mean
    out /= std
    return out


def preprocess_batch(pictures: Sequence[Picture], preprocessing: Preprocessing) -> Float[np.ndarray, "n 3 size size"]:
    """Pictures as float32 [n, 3, size, size]; each as if it were alone."""
    batch = np.empty((len(pictures), 3, preprocessing.size, preprocessing.size), dtype=np.float32)
    for i, picture in enumerate(pictures):
        batch[i] = preprocess(picture, preprocessing)
    return batch


def region(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """The part of a picture of that size that its model sees: (left, top, right, bottom) in its pixels. "pad" sees more
    than the picture, and is below 0 on the left or the top then."""
    match preprocessing.policy:
        case "squash":
            return 0, 0, width, height
        case "shortest_crop":
            side = min(width, height)
        case "pad":
            side = max(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def thumbnail(picture: Picture, side: int = 256) -> bytes:
    """A WebP of the picture that fits in `side` × `side`; smaller pictures are not enlarged."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=80, method=2)  # method 4 takes twice as long for 3% fewer bytes
    return stream.getvalue()


def _read(image: Image.Image, format_: str, max_pixels: int, max_side: int | None) -> Decoded:
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(TOO_MANY_PIXELS, f"{width} × {height} is over the limit of {max_pixels:,}")
    as_stored = _orientation(image) == 1
    if max_side is not None:
        scale = 1.5 * _scale(width, height, max_side)  # JPEG to 1/2, 1/4 or 1/8; the last step is a good filter's
        image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))
    image.load()
    orientation = _orientation(image)  # asked again: TIFF turns itself while loading, and forgets the tag
    picture = _finish(image, orientation, max_side)
    if orientation >= 5:
        width, height = height, width
    plain = as_stored and getattr(image, "n_frames", 1) == 1
    return Decoded(picture=picture, width=width, height=height, format=format_, plain=plain)


def _finish(image: Image.Image, orientation: int, max_side: int | None) -> Picture:
    picture = _opaque_rgb(image)
    picture.info = {}  # an EXIF tag left behind would turn the picture a second time
    if max_side is not None and (scale := _scale(*picture.size, max_side)) < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)  # bicubic's quality, half its time
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _is_finished(picture: Image.Image, max_side: int | None) -> bool:
    fits = max_side is None or _scale(*picture.size, max_side) == 1
    return picture.mode == "RGB" and not picture.info and fits


def _scale(width: int, height: int, max_side: int) -> float:
    return min(1.0, max(max_side / max(width, height), MIN_SHORT_SIDE / min(width, height)))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a picture with damaged EXIF is still a picture, of unknown orientation
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _opaque_rgb(image: Image.Image) -> Picture:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey to 8 bits; `Image.convert` would clip at 255 instead of scaling. In blocks
    of rows, so that a large scan needs no second copy in double precision."""
    stored = np.asarray(image)
    blocks = [stored[start : start + 64] for start in range(0, len(stored), 64)]
    finite = [np.nan_to_num(block) for block in blocks] if image.mode == "F" else blocks
    lowest, highest = float(min(b.min() for b in finite)), float(max(b.max() for b in finite))
    white = max(1.0, highest) if image.mode == "F" else max(65535.0, highest)
    low = min(0.0, lowest)
    grey = np.empty(stored.shape, np.uint8)
    for start, block in zip(range(0, len(stored), 64), finite, strict=True):
        grey[start : start + 64] = np.rint((block.astype(np.float64) - low) * (255 / (white - low)))
    return Image.fromarray(grey)


def _square(picture: Picture, preprocessing: Preprocessing) -> Picture:
    size, filter_ = preprocessing.size, Image.Resampling[preprocessing.interpolation.upper()]
    match preprocessing.policy:
        case "squash":
            return picture.resize((size, size), filter_)
        case "shortest_crop":
            return _shortest_crop(picture, size, filter_)
        case "pad":  # timm's ResizeKeepRatio and open_clip's CenterCropOrPad
            ratio = max(length / size for length in picture.size)
            wide, high = (max(1, round(length / ratio)) for length in picture.size)
            inner = picture.resize((wide, high), filter_)
            canvas = Image.new("RGB", (size, size), preprocessing.pad_colour)
            canvas.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
            return canvas


def _shortest_crop(picture: Picture, size: int, filter_: Image.Resampling) -> Picture:
    """int() and round() as torchvision's Resize and CenterCrop have them, on which CLIP was trained."""
    width, height = picture.size
    short = min(width, height)
    wide, high = (size, int(size * height / short)) if width == short else (int(size * width / short), size)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    if wide * high <= _LARGEST:
        return picture.resize((wide, high), filter_).crop((left, top, left + size, top + size))
    # of a very long strip only the middle: all of a 20,000 × 10 picture, its shorter side scaled up, fills the memory
    across, down = _Span.of(width, wide, left, size), _Span.of(height, high, top, size)
    part = picture.crop((across.first, down.first, across.last, down.last))
    part = part.resize((size, part.height), filter_, box=(across.begin, 0, across.end, part.height))  # Pillow's order
    return part.resize((size, size), filter_, box=(0, down.begin, size, down.end))


class _Span(NamedTuple):
    """The pixels [first, last) of one axis that some pixels of its scaled version depend on, and where the latter
    `begin` and `end`, counted from the first of them."""

    first: int
    last: int
    begin: float
    end: float

    @classmethod
    def of(cls, length: int, scaled: int, start: int, size: int) -> "_Span":
        """Of the pixels [start, start + size) of `length` pixels scaled to `scaled`."""
        scale = length / scaled
        reach = 2 * max(1.0, scale) + 1  # half the width of a bicubic filter, and rounding
        first, last = max(0, int(start * scale - reach)), min(length, math.ceil((start + size) * scale + reach))
        return cls(first, last, start * scale - first, min((start + size) * scale, length) - first)


def _why_not_a_picture(data: bytes) -> tuple[str, str]:
    if not data:
        return EMPTY, ""
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head:
        return SVG, "convert it to PNG"
    return NOT_A_PICTURE, "its first bytes are of no format that is read"


@functools.cache
def _register_heif() -> None:
    import pillow_heif.HeifImagePlugin  # noqa: F401  # pyright: ignore[reportUnusedImport]  # importing registers it
