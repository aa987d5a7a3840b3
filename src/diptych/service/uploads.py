"""Uploaded pictures: bounded in bytes and pixels; a bad one is refused with a sentence that says what to do."""

from dataclasses import dataclass

from fastapi import HTTPException

from diptych.core.errors import PictureError
from diptych.core.types import Picture
from diptych.inputs import image

MULTIPART_OVERHEAD = 64 << 10
"""Bytes that a request may hold besides the picture: boundaries, headers, the file's name."""

_READ = "send a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC picture"
_REFUSALS = {
    image.EMPTY: (422, f"the file is empty; {_READ}"),
    image.NOT_A_PICTURE: (415, f"this is not a picture that can be read; {_READ}"),
    image.SVG: (415, f"SVG drawings are not read; {_READ}"),
    image.TRUNCATED: (422, "the picture ends too early, as if it was not copied whole; send the whole file"),
    image.DAMAGED: (422, "the picture is damaged; open it in a viewer, save it again and send that"),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large an uploaded picture may be."""

    max_bytes: int = 16 << 20
    max_pixels: int = 50_000_000

    def __post_init__(self):
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise ValueError(f"limits are at least 1, got {self.max_bytes} bytes and {self.max_pixels} pixels")

    @property
    def max_request_bytes(self) -> int:
        """How large the request around the picture may be."""
        return self.max_bytes + MULTIPART_OVERHEAD


class UploadRefused(HTTPException):
    """A 4xx answer; `reason` is short and stable enough to count by."""

    def __init__(self, status_code: int, reason: str, sentence: str):
        super().__init__(status_code, sentence)
        self.reason = reason


def too_large(limits: Limits) -> UploadRefused:
    """The refusal of a request that is too long."""
    megabytes = f"{limits.max_bytes / (1 << 20):.3g} MB"
    return UploadRefused(413, image.TOO_LARGE, f"pictures of up to {megabytes} can be searched with, this one is "
                                               "larger; send a smaller copy")


def picture_of(data: bytes, limits: Limits) -> Picture:
    """The picture in an uploaded file, or UploadRefused."""
    if len(data) > limits.max_bytes:
        raise too_large(limits)
    try:
        return image.decode(data, max_pixels=limits.max_pixels)
    except PictureError as error:
        if error.reason == image.TOO_MANY_PIXELS:
            sentence = (f"pictures of up to {limits.max_pixels / 1e6:.3g} megapixels can be searched with, this one "
                        "has more; send a smaller copy")
            raise UploadRefused(413, error.reason, sentence) from error
        status, sentence = _REFUSALS.get(error.reason, (422, f"the picture cannot be read ({error}); {_READ}"))
        raise UploadRefused(status, error.reason, sentence) from error
