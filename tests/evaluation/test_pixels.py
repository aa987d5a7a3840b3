"""Segmentation and depth of towers that know everything, or nothing; what both do with pixels nobody knows."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from worlds import constant, dataset, embedded

from diptych.evaluation import pixels
from diptych.evaluation.dataset import IGNORED, Maps, subset
from diptych.evaluation.dense import enlarge
from diptych.evaluation.depth import DepthConfig, depth, fit_depth
from diptych.evaluation.embedded import Looks
from diptych.evaluation.metrics.sums import OfSums
from diptych.evaluation.pixels import Target
from diptych.evaluation.segmentation import SegmentationConfig, segmentation

COUNT, CELLS, SIDE = 40, 8, 32
THINGS = ("ground", "box", "disc")
SMALL = SegmentationConfig(samples=2000, iterations=50)
SMALL_DEPTH = DepthConfig(samples=2000, bins=32)


def masks(count=COUNT, side=SIDE):
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        mask = np.zeros((side, side), np.uint8)
        for thing in (1, 2):
            top, left = rng.integers(0, 3, 2) * side // 4
            mask[top : top + side // 2, left : left + side // 2] = thing
        made.append(mask)
    return made


def world(grid, maps, columns=None, count=COUNT, **looks):
    """A tower that gives `grid(number)`, by a picture's colour."""
    data = replace(dataset([""] * count, columns), maps=maps)
    pictures = [Image.new("RGB", (3, 4), (number, 0, 0)) for number in range(count)]

    def patches(seen):
        assert all(picture.width == picture.height for picture in seen)
        return [grid(picture.getpixel((0, 0))[0]) for picture in seen]
    return replace(embedded(data, constant(count, 4), pictures=pictures), looks=Looks(patches=patches, **looks))


def cells(mask):
    """One-hot, the share of each cell."""
    parts = mask.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS)
    return np.stack([(parts == thing).mean(axis=(1, 3)) for thing in range(3)], axis=2).astype(np.float32)


def test_a_tower_that_knows_the_mask_is_right_and_one_that_does_not_is_at_chance():
    known = masks()
    maps = Maps(things=THINGS, mask=lambda i: known[i])
    found = segmentation(world(lambda i: cells(known[i]), maps), SMALL)
    assert found.figure("miou") > 0.95 and len(found.ids) == COUNT // 5  # corners of bilinear outlines are round
    assert isinstance(found.statistics["miou"], OfSums)  # all draws of a bootstrap at once
    assert found.details["iou of box"][0] > 0.9 and set(found.details) == {f"iou of {thing}" for thing in THINGS}
    blind = segmentation(world(lambda i: np.ones((CELLS, CELLS, 3), np.float32), maps), SMALL)
    assert blind.figure("miou") == pytest.approx(blind.chance["miou"]) and blind.chance == found.chance
    tested = [known[int(id_[1:])] for id_ in blind.ids]
    assert blind.chance["miou"] == pytest.approx(np.mean([m == 0 for m in tested]) / 3)
    weights = np.zeros(len(found.ids))
    weights[0] = 3
    assert found.figure("miou", weights) == pytest.approx(np.mean([found.details[f"iou of {t}"][0] for t in THINGS]))


def test_masks_of_another_size_and_pixels_that_nobody_labelled():
    known, large = masks(), masks(side=4 * SIDE)
    for number, mask in enumerate(large):
        mask[:, : 2 * SIDE] = IGNORED if number % 2 else mask[:, : 2 * SIDE]
    found = segmentation(world(lambda i: cells(known[i]), Maps(mask=lambda i: large[i])), SMALL)
    assert found.figure("miou") > 0.95 and set(found.details) == {"iou of 0", "iou of 1", "iou of 2"}
    nothing = [np.full((1, 1), IGNORED) if number % 2 else mask for number, mask in enumerate(known)]
    some = segmentation(world(lambda i: cells(known[i]), Maps(mask=lambda i: nothing[i])), SMALL)
    assert some.ids and all(int(id_[1:]) % 2 == 0 for id_ in some.ids)


def test_a_class_that_training_never_shows_counts():
    known = [np.minimum(mask, 1) if number < 30 else mask for number, mask in enumerate(masks())]
    parts = {"split": ["train"] * 24 + ["val"] * 6 + ["test"] * 10}
    found = segmentation(world(lambda i: cells(known[i]), Maps(things=THINGS, mask=lambda i: known[i]), parts), SMALL)
    assert max(found.details["iou of disc"]) == 0 and found.figure("miou") < 2 / 3 and not found.slices


def test_depth_of_a_tower_that_knows_it():
    rng = np.random.default_rng(0)
    rough = rng.uniform(1, 10, (COUNT, CELLS, CELLS))
    true = enlarge(rough, SIDE, SIDE)
    maps = Maps(depth=lambda i: true[i].astype(np.float32))
    found = depth(world(lambda i: rough[i, :, :, None].astype(np.float32), maps), SMALL_DEPTH)
    assert found.figure("rmse") < 0.4 < 1 < found.chance["rmse"] and found.figure("delta_1") > 0.9
    assert found.better("rmse") == "lower" and found.better("delta_1") == "higher"
    blind = depth(world(lambda i: np.ones((CELLS, CELLS, 1), np.float32), maps), SMALL_DEPTH)
    assert blind.figure("rmse") == pytest.approx(blind.chance["rmse"], rel=0.01)
    error = [np.sqrt(((true[int(id_[1:])] - 5.5) ** 2).mean()) for id_ in blind.ids]
    assert blind.chance["rmse"] == pytest.approx(np.mean(error), rel=0.05)


def test_unknown_depths_do_not_count():
    known = np.random.default_rng(1).uniform(1, 10, (COUNT, CELLS, CELLS))
    holes = known.copy()
    holes[:, ::2] = 0
    holes[1::2, 1::2, 0] = np.nan
    found = depth(world(lambda i: known[i, :, :, None].astype(np.float32), Maps(depth=lambda i: holes[i])), SMALL_DEPTH)
    assert found.figure("rmse") < 1 and not np.isnan(found.values["rmse"]).any()


def test_the_depth_probes_slope_is_that_of_its_loss():
    from scipy.optimize import approx_fprime, minimize

    rng = np.random.default_rng(0)
    features, metres = rng.normal(size=(50, 2)), rng.uniform(1, 5, 50)
    probe = fit_depth(features, metres, 4, 0.1, 500)
    unit = metres.std()

    def loss(flat):
        weight, bias = flat[:8].reshape(4, 2), flat[8:]
        shares = np.exp(features @ weight.T + bias)
        expected = shares / shares.sum(axis=1, keepdims=True) @ probe.metres
        return (((expected - metres) / unit) ** 2).mean() + 0.05 * (weight**2).sum()

    here = np.concatenate([probe.weight.ravel(), probe.bias]).astype(float)
    assert np.abs(approx_fprime(here, loss)).max() < 1e-2  # float32 inside
    assert loss(here) <= minimize(loss, here).fun + 1e-3
    with pytest.raises(ValueError, match="all depths of training are 2 m"):
        fit_depth(features, np.full(50, 2.0), 4, 0.1, 5)


def test_pixels_features_are_the_enlarged_patches_and_the_pictures_vector():
    grid = np.random.default_rng(0).normal(size=(4, 4, 2)).astype(np.float32)
    place = np.arange(64).reshape(8, 8)
    one = world(lambda i: grid, Maps(), count=2)
    found = pixels.sample(one, np.array([0, 1]), Target(read=lambda i: place, known=lambda m: m >= 32), 40, seed=0)
    large = enlarge(np.moveaxis(grid, -1, 0), 8, 8)
    assert len(found.truth) == 40 and found.truth.min() >= 32
    rows, columns = found.truth // 8, found.truth % 8
    np.testing.assert_allclose(found.features[:, :2], large[:, rows, columns].T, atol=1e-6)
    np.testing.assert_allclose(found.features[:, 2:], np.repeat(one.images, 20, axis=0))


@pytest.mark.parametrize("task", [segmentation, depth])
def test_what_cannot_be_probed_says_why(task):
    config = SMALL if task is segmentation else SMALL_DEPTH
    maps = Maps(mask=lambda i: np.eye(2, dtype=np.uint8), depth=lambda i: np.eye(2))
    with pytest.raises(ValueError, match="made up has no"):
        task(world(lambda i: np.eye(2)[..., None], Maps()), config)
    with pytest.raises(ValueError, match="has no patch features"):
        task(replace(world(None, maps), looks=Looks()), config)
    with pytest.raises(ValueError, match="2 pictures of made up are too few"):
        task(world(lambda i: np.eye(2)[..., None], maps, count=2), config)
    nothing = Maps(mask=lambda i: np.full((2, 2), IGNORED), depth=lambda i: np.zeros((2, 2)))
    with pytest.raises(ValueError, match="no map says anything"):
        task(world(lambda i: np.eye(2)[..., None], nothing), config)


def test_a_number_that_no_thing_has_is_told():
    with pytest.raises(ValueError, match=r"the mask of p\d+ has the number 7, and made up names 3 things"):
        strange = Maps(things=THINGS, mask=lambda i: np.full((2, 2), 7))
        segmentation(world(lambda i: np.eye(2)[..., None], strange), SMALL)


@pytest.mark.parametrize(("config", "values"), [
    (SegmentationConfig, {"samples": 0}), (SegmentationConfig, {"decays": ()}),
    (SegmentationConfig, {"decays": (0.0,)}), (DepthConfig, {"iterations": 0}), (DepthConfig, {"bins": 1})])
def test_settings_have_bounds(config, values):
    with pytest.raises(ValueError, match="at least 1"):
        config(**values)


def test_a_subset_keeps_its_maps_and_regions():
    from diptych.data.regions import Region

    known = masks(4)
    data = replace(dataset([""] * 4), maps=Maps(things=THINGS, mask=lambda i: known[i], depth=lambda i: known[i] + 1.0),
                   regions={i: (Region(box=(0, 0, 1, 1), text=str(i)),) for i in (0, 3)})
    some = subset(data, [3, 1])
    assert some.maps.mask is not None and some.maps.depth is not None and some.maps.things == THINGS
    assert (some.maps.mask(0) == known[3]).all() and (some.maps.depth(1) == known[1] + 1.0).all()
    assert {i: [r.text for r in parts] for i, parts in some.regions.items()} == {0: ["3"]}
    assert subset(dataset(["", ""]), [0]).maps.mask is None
