"""The fifteen corruptions of ImageNet-C at five severities, for a picture of any size.

Hendrycks & Dietterich 2019 (arXiv 1903.12261); the constants are those of the published make_imagenet_c.py, which are
for pictures of 224 pixels. Kernels, displacements, grains and flakes grow and shrink with the shorter side: at 224 they
are the published ones, at other sizes the picture is damaged in proportion, and results are comparable with ImageNet-C
in kind. What differs at 224 too: frost is drawn, not photographed; motion and discs are not jagged; nothing is rounded
on the way, and the result is not stored as a JPEG, as the published files are. Noise in pictures below 224 stays at one
grain a pixel, and JPEG has its blocks of 8 everywhere.
"""

from collections.abc import Callable, Mapping

import numpy as np

from diptych.core.types import Picture
from diptych.data.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from diptych.data.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from diptych.data.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from diptych.data.corruptions.pixels import Pixels, from_picture, to_picture
from diptych.data.corruptions.weather import brightness, fog, frost, snow

_BY_NAME: Mapping[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur, "glass_blur": glass_blur, "motion_blur": motion_blur, "zoom_blur": zoom_blur,
    "snow": snow, "frost": frost, "fog": fog, "brightness": brightness,
    "contrast": contrast, "elastic_transform": elastic_transform, "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}

CORRUPTIONS = tuple(_BY_NAME)
"""All names, in the order of the paper."""
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(picture: Picture, name: str, severity: int, rng: np.random.Generator) -> Picture:
    """The picture, damaged: same size, mode RGB. The same generator state gives the same picture.

    ValueError for a corruption or severity that does not exist, and for a picture that is not RGB.
    """
    if name not in _BY_NAME:
        raise ValueError(f"no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity goes from 1 to 5, got {severity}")
    if picture.mode != "RGB":
        raise ValueError(f"expected a picture in mode RGB, got {picture.mode}; decode it with inputs.image.decode, "
                         'or picture.convert("RGB")')
    return to_picture(_BY_NAME[name](from_picture(picture), severity, rng))
