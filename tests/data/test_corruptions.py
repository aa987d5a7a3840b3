"""Corruptions against scipy, colorsys and the published loop; that severity hurts and size does not matter."""

import colorsys
import itertools

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from diptych.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from diptych.data.corruptions.blur import shuffle
from diptych.data.corruptions.digital import elastic_transform
from diptych.data.corruptions.pixels import convolve, fit, from_picture, gaussian, sample, scale, streak, to_picture
from diptych.data.corruptions.weather import clouds


def photograph(height=224, width=224):
    """Noise whose amplitude falls with its frequency, as that of photographs does."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width) * width)
    frequency[0, 0] = np.inf
    shared, own = rng.normal(size=(height, width, 1)), rng.normal(size=(height, width, 3))
    waves = np.fft.ifft2(np.fft.fft2(shared + own / 2, axes=(0, 1)) / frequency[..., None] ** 1.3, axes=(0, 1)).real
    return to_picture((0.45 + 0.2 * waves / waves.std()).astype(np.float32))


def drawing(side=224):
    large = 4 * side
    picture = Image.new("RGB", (large, large), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse([large * x for x in (0.1, 0.15, 0.8, 0.85)], (250, 200, 40), (20, 20, 20), large // 50)
    pen.rectangle([large * x for x in (0.5, 0.55, 0.92, 0.9)], (40, 90, 200))
    pen.line([large * x for x in (0.1, 0.9, 0.9, 0.1)], (200, 20, 60), large // 30)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def grey(level, side=224):
    return Image.new("RGB", (side, side), (level,) * 3)


def floats(picture):
    return np.asarray(picture, dtype=float) / 255


def difference(one, other):
    return np.abs(floats(one) - floats(other)).mean()


def dissimilarity(one, other):
    """1 − SSIM of the luminance, with a Gaussian window of 1.5 (Wang et al. 2004)."""
    a, b = (floats(p.convert("L")) for p in (one, other))
    mean_a, mean_b = (ndimage.gaussian_filter(x, 1.5) for x in (a, b))
    var_a, var_b, both = (ndimage.gaussian_filter(x * y, 1.5) - u * v for x, y, u, v in
                          ((a, a, mean_a, mean_a), (b, b, mean_b, mean_b), (a, b, mean_a, mean_b)))
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return 1 - (luminance * (2 * both + 0.03**2) / (var_a + var_b + 0.03**2)).mean()


def damage(picture, name, severity, measure=difference, draws=3):
    return np.mean([measure(corrupt(picture, name, severity, np.random.default_rng(k)), picture) for k in range(draws)])


# What the published constants do not make worse from step to step, by any measure: see the docstrings of the two.
ORDER = {"elastic_transform": [(1, 2), (3, 4, 5)], "glass_blur": [(1, 3, 5), (2, 4, 5)]}


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("picture", [photograph(), drawing()], ids=["photograph", "drawing"])
def test_severity_increases_the_damage(name, picture):
    measure = dissimilarity if name in {"frost", "fog"} else difference  # these two change the light both ways
    found = {severity: damage(picture, name, severity, measure) for severity in SEVERITIES}
    for order in ORDER.get(name, [SEVERITIES]):
        rising = [found[severity] for severity in order]
        assert all(a < b for a, b in itertools.pairwise(rising)), found
    assert min(found.values()) > 0.003


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"jpeg_compression", "pixelate"}))
def test_a_smaller_picture_is_damaged_in_proportion(name):
    # of a drawing the edges are what blurs and warps change: a fixed kernel would change twice as many
    assert damage(drawing(112), name, 3) == pytest.approx(damage(drawing(224), name, 3), rel=0.15)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"jpeg_compression", "pixelate"}))
@pytest.mark.parametrize("severity", [3, 5])
def test_a_larger_picture_seen_from_as_far_looks_as_damaged(name, severity):
    picture, large = photograph(), photograph().resize((448, 448), Image.Resampling.NEAREST)

    def at_224(one, other):
        return difference(*(p.resize((224, 224), Image.Resampling.BOX) for p in (one, other)))

    # a fixed grain or kernel would be off by a third and more
    assert damage(large, name, severity, at_224) == pytest.approx(damage(picture, name, severity), rel=0.12)


@pytest.mark.parametrize(("name", "picture", "loss"), [
    ("gaussian_noise", grey(64), 0.02), ("shot_noise", grey(64), 0.02), ("impulse_noise", grey(64), 0.02),
    # enlarging a layer takes that much off its finest lines
    ("snow", grey(64), 0.1), ("frost", grey(64), 0.22), ("fog", grey(64), 0.02), ("glass_blur", photograph(), 0.06)])
def test_grains_flakes_and_facets_grow_with_the_picture(name, picture, loss):
    def unevenness(side):
        large = picture.resize((side, side), Image.Resampling.NEAREST)
        layers = (corrupt(large, name, 3, np.random.default_rng(k)) for k in range(4))
        return np.mean([np.abs(np.diff(floats(p.resize((112, 112), Image.Resampling.BOX)), axis=1)).mean()
                        for p in layers])

    assert unevenness(896) == pytest.approx(unevenness(224), rel=loss)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_generator_decides_and_the_picture_stays_as_it_was(name):
    picture = photograph(60, 80)
    before = picture.tobytes()
    one, same, other = (corrupt(picture, name, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() and picture.tobytes() == before
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert (one.tobytes() == other.tobytes()) == (name in fixed)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CORRUPTIONS), st.sampled_from(SEVERITIES), st.integers(1, 300), st.integers(1, 300),
       st.integers(0, 255))
def test_every_size_keeps_its_size_and_mode(name, severity, width, height, level):
    width, height = max(width, height // 20), max(height, width // 20)
    picture = Image.new("RGB", (width, height), (level, 255 - level, 7))
    out = corrupt(picture, name, severity, np.random.default_rng(0))
    assert out.size == picture.size and out.mode == "RGB"


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"no corruption 'rain'; there are gaussian_noise, .* jpeg_compression"):
        corrupt(grey(0, 32), "rain", 1, np.random.default_rng(0))
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"1 to 5, got {severity}"):
            corrupt(grey(0, 32), "fog", severity, np.random.default_rng(0))
    with pytest.raises(ValueError, match="mode RGB, got L"):
        corrupt(Image.new("L", (32, 32)), "fog", 1, np.random.default_rng(0))


@pytest.mark.parametrize(("severity", "sigma", "photons", "share"), [(1, 0.08, 60, 0.03), (3, 0.18, 12, 0.09)])
def test_noise_is_as_strong_as_published(severity, sigma, photons, share):
    rng = np.random.default_rng(0)  # of 150,528 draws a deviation is known to 0.2%, a share of 3% to 1.5%
    assert floats(corrupt(grey(128), "gaussian_noise", severity, rng)).std() == pytest.approx(sigma, rel=0.01)
    shot = floats(corrupt(grey(64), "shot_noise", severity, rng))
    assert shot.mean() == pytest.approx(64 / 255, rel=0.01)
    assert shot.var() == pytest.approx(64 / 255 / photons, rel=0.02)
    impulse = floats(corrupt(grey(128), "impulse_noise", severity, rng))
    assert (impulse == 0).mean() == pytest.approx(share / 2, rel=0.06)
    assert (impulse == 1).mean() == pytest.approx(share / 2, rel=0.06)


def test_brightness_is_hsv_value():
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    colours[0, :3] = [[0, 0, 0], [255, 255, 255], [90, 90, 90]]
    expected = [[colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1)) for h, s, v in
                 (colorsys.rgb_to_hsv(*pixel / 255) for pixel in row)] for row in colours]
    found = floats(corrupt(Image.fromarray(colours), "brightness", 3, np.random.default_rng(0)))
    np.testing.assert_allclose(found, expected, atol=0.51 / 255)  # rounded to 8 bits


def test_contrast_keeps_the_mean_of_each_channel():
    picture = photograph()
    out = floats(corrupt(picture, "contrast", 2, np.random.default_rng(0)))
    np.testing.assert_allclose(out.mean((0, 1)), floats(picture).mean((0, 1)), atol=1e-3)
    np.testing.assert_allclose(out.std((0, 1)), 0.3 * floats(picture).std((0, 1)), rtol=0.01)


def test_pixelate_makes_squares():
    out = np.asarray(corrupt(photograph(), "pixelate", 5, np.random.default_rng(0)))
    squares = out.reshape(56, 4, 56, 4, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    wide = np.asarray(corrupt(photograph(40, 80), "pixelate", 5, np.random.default_rng(0)))
    assert len(np.unique(wide, axis=0)) == 10 and len(np.unique(wide, axis=1).swapaxes(0, 1)) == 20


def test_glass_takes_what_the_published_loop_takes():
    rng = np.random.default_rng(0)
    for reach, rows, columns in ((1, 9, 12), (2, 20, 15), (4, 40, 30), (4, 8, 8)):
        offsets = rng.integers(-reach, reach, (2, rows, columns))
        x = np.arange(rows * columns).reshape(rows, columns, 1).repeat(3, axis=2)
        for h in range(rows - reach, reach, -1):
            for w in range(columns - reach, reach, -1):
                dy, dx = offsets[:, h, w]
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
        np.testing.assert_array_equal(shuffle(offsets, reach), x[..., 0].ravel())


class Told(np.random.Generator):
    """Draws these corners, and the same ripple everywhere."""

    def __init__(self, corners, ripple=0.0):
        super().__init__(np.random.PCG64(0))
        self.corners, self.ripple = corners, ripple

    def uniform(self, low=0.0, high=1.0, size=None):
        return self.corners if size == (3, 2) else np.full(size, self.ripple)


def test_elastic_moves_the_picture_where_its_corners_go():
    pixels = from_picture(photograph(112, 150))
    at_rest = elastic_transform(pixels, 2, Told(np.zeros((3, 2))))
    np.testing.assert_allclose(at_rest, pixels, atol=1e-5)
    moved = elastic_transform(pixels, 2, Told(np.full((3, 2), [8, -6])))  # at 224: half as far here, to the lower left
    np.testing.assert_allclose(moved[4:, :-3], pixels[:-4, 3:], atol=1e-5)
    # a ripple of 1 is 2 · 244 pixels at 224, half of that here; the picture is sampled 4 pixels to the lower right
    rippled = elastic_transform(pixels, 2, Told(np.zeros((3, 2)), 4 / 244))
    np.testing.assert_allclose(rippled[:-4, :-4], pixels[4:, 4:], atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 9), st.sampled_from(["edge", "symmetric", "wrap"]))
def test_gaussian_is_scipys(height, width, sigma, border):
    pixels = np.random.default_rng(0).random((height, width, 2), dtype=np.float32)
    mode = {"edge": "nearest", "symmetric": "reflect", "wrap": "wrap"}[border]
    expected = ndimage.gaussian_filter(pixels.astype(float), (sigma, sigma, 0), mode=mode)
    np.testing.assert_allclose(gaussian(pixels, sigma, border), expected, atol=1e-5)  # float32


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 6), st.sampled_from(["edge", "symmetric", "wrap"]))
def test_convolve_is_scipys(height, width, reach, border):
    rng = np.random.default_rng(0)
    pixels, kernel = rng.random((height, width, 2), dtype=np.float32), rng.random((2 * reach + 1, 2 * reach + 1))
    mode = {"edge": "nearest", "symmetric": "reflect", "wrap": "wrap"}[border]
    expected = ndimage.convolve(pixels.astype(float), kernel[..., None], mode=mode)
    np.testing.assert_allclose(convolve(pixels, kernel, border), expected, atol=1e-6 * kernel.size)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 20), st.integers(2, 20))
def test_sample_is_scipys(height, width):
    rng = np.random.default_rng(0)
    pixels = rng.random((height, width, 3), dtype=np.float32)
    rows, columns = rng.uniform(-3 * height, 3 * height, (7, 5)), rng.uniform(-3 * width, 3 * width, (7, 5))
    found = sample(pixels, rows, columns)
    for channel in range(3):
        expected = ndimage.map_coordinates(pixels[..., channel].astype(float), [rows, columns], order=1, mode="mirror")
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-5)


def test_a_streak_is_a_line_that_fades():
    level = streak(20, 5, 0)
    rows, columns = np.nonzero(level)
    assert set(rows) == {21} and columns.min() == 21 and columns.max() == 41  # from the middle of 43 × 43 to the right
    np.testing.assert_allclose(level[21, 22:42] / level[21, 21:41], np.exp(-0.5 * np.diff(np.arange(21.0) ** 2) / 25))
    for degrees in (-90, -30, 45):
        kernel = streak(20, 5, degrees)
        at = np.arange(-21, 22)
        centre = np.array([kernel.sum(axis) @ at for axis in (0, 1)])
        turned = level[21] @ at * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
        np.testing.assert_allclose(centre, turned, atol=1e-12)
        assert kernel.sum() == pytest.approx(1)


@pytest.mark.parametrize("decay", [1.4, 2.0])
def test_clouds_are_means_of_neighbours_and_a_part_that_shrinks(decay):
    field = clouds(256, 512, decay, np.random.default_rng(0))
    assert field.shape == (256, 512) and field.min() == 0 and field.max() == 1

    def random_part(step):
        corners = field[::step, ::step]
        below = np.roll(corners, -1, 0)
        four = corners + below + np.roll(corners, -1, 1) + np.roll(below, -1, 1)
        return (field[step // 2 :: step, step // 2 :: step] - four / 4).std()

    for step in (2, 4, 8):  # the fewest, of step 16, are 512: their deviation is known to 2%
        assert random_part(2 * step) / random_part(step) == pytest.approx(decay**2, rel=0.06)
    assert clouds(10, 300, decay, np.random.default_rng(0)).shape == (10, 300)


def test_fog_leaves_the_brightest_as_bright_and_black_no_longer_black():
    out = floats(corrupt(drawing(), "fog", 3, np.random.default_rng(0)))
    assert 0.9 < out.max() <= 1 and out.min() > 0
    assert floats(corrupt(grey(0), "fog", 3, np.random.default_rng(0))).max() == 0  # of nothing bright, as published


def test_frost_is_as_bright_as_the_photographs_and_blue():
    layers = np.array([floats(corrupt(grey(0), "frost", 5, np.random.default_rng(k))) for k in range(8)]) / 0.75
    red, green, blue = layers.mean((0, 1, 2))
    assert red < green < blue and 0.5 < layers.mean() < 0.75  # the five photographs: 0.48 to 0.81
    assert 0.08 < layers.std((1, 2)).mean() < 0.16  # theirs: 0.08 to 0.16


def test_the_shorter_side_sets_the_scale():
    assert scale(np.zeros((448, 1000, 3), np.float32)) == 2 == scale(np.zeros((1000, 448, 3), np.float32))
    layer = np.random.default_rng(0).random((6, 5))
    np.testing.assert_array_equal(fit(layer, 6, 5), layer.astype(np.float32))
    np.testing.assert_allclose(fit(np.ones((6, 5)), 12, 3), 1, rtol=1e-6)
