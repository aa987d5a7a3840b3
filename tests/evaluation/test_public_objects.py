"""ImageNet's family in the layouts on people's disks: classes, names and what is not there."""

import runpy
from importlib.metadata import distribution
from pathlib import Path

import pytest
from layouts import classified, drawn, export, objectnet, opened, put, write

from diptych.core.errors import SourceError
from diptych.evaluation.public.objects import imagenet_names
from diptych.evaluation.sets import Columns
from diptych.evaluation.templates import TEMPLATES
from diptych.evaluation.zero_shot import names_of


def test_the_names_are_open_clips_and_the_synsets_timms():
    """Their files are read alone: the packages need torchvision."""
    names = distribution("open_clip_torch").locate_file("open_clip/zero_shot_metadata.py")
    synsets = distribution("timm").locate_file("timm/data/_info/imagenet_synsets.txt")
    assert list(imagenet_names().values()) == list(runpy.run_path(str(names))["IMAGENET_CLASSNAMES"])
    assert list(imagenet_names()) == Path(str(synsets)).read_text().split() and len(imagenet_names()) == 1000


@pytest.mark.parametrize("place", ["val/", "", "sketch/"])
def test_folders_of_synsets(tmp_path, place):
    put(tmp_path, f"{place}n01443537/ILSVRC2012_val_00000236.JPEG", f"{place}n01440764/ILSVRC2012_val_00000293.JPEG",
        f"{place}n04008634/a.JPEG", f"{place}n03773504/b.JPEG")
    put(tmp_path, "train/n01443537/not this.JPEG")
    data = opened("imagenet1k", tmp_path)
    assert data.name == "imagenet1k" and data.classes == ("n01440764", "n01443537", "n03773504", "n04008634")
    # two classes of one name stay two
    assert names_of(data) == ["tench", "goldfish", "missile", "missile"]
    assert data.ids == tuple(f"{place}{one}" for one in (
        "n01440764/ILSVRC2012_val_00000293.JPEG", "n01443537/ILSVRC2012_val_00000236.JPEG", "n03773504/b.JPEG",
        "n04008634/a.JPEG"))
    assert data.labels == data.classes and data.templates == TEMPLATES["clip80"]


def test_numbered_folders_count_from_tench(tmp_path):
    put(tmp_path, "ImageNetV2-matched-frequency/0/a.jpeg", "ImageNetV2-matched-frequency/10/b.jpeg",
        "ImageNetV2-matched-frequency/2/c.jpeg")
    data = opened("imagenetv2", tmp_path)
    assert dict(zip(data.ids, data.labels, strict=True)) == {
        "ImageNetV2-matched-frequency/0/a.jpeg": "n01440764", "ImageNetV2-matched-frequency/10/b.jpeg": "n01530575",
        "ImageNetV2-matched-frequency/2/c.jpeg": "n01484850"}
    assert names_of(data) == ["tench", "great white shark", "brambling"]


def test_kaggles_table_says_the_classes(tmp_path):
    put(tmp_path, *(f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000{i}.JPEG" for i in range(2)))
    write(tmp_path, "LOC_val_solution.csv", "\n".join([
        "ImageId,PredictionString", "ILSVRC2012_val_00000000,n03995372 85 1 499 272 ",
        "ILSVRC2012_val_00000001,n01440764 1 2 3 4 n01440764 5 6 7 8", "ILSVRC2012_val_00000009,n01440764 1 1 2 2"]))
    data = opened("imagenet1k", tmp_path)
    assert data.labels == ("n03995372", "n01440764") and names_of(data) == ["tench", "power drill"]
    assert len(data.skipped) == 1 and "ILSVRC2012_val_00000009.JPEG" in data.skipped[0][1]


def test_pictures_of_the_same_bytes_are_counted_each(tmp_path):
    put(tmp_path, "n01440764/a.JPEG")
    (tmp_path / "n01440764" / "b.JPEG").write_bytes((tmp_path / "n01440764" / "a.JPEG").read_bytes())
    assert len(opened("imagenet-a", tmp_path)) == 2 and opened("imagenet-a", tmp_path).same == (0, 0)


def test_objectnet_keeps_the_classes_that_imagenet_has(tmp_path):
    data = opened("objectnet", objectnet(tmp_path / "objectnet-1.0").parent)
    assert data.classes == ("Banana", "T-shirt") and names_of(data) == ["banana", "t-shirt"]
    assert data.labels == ("Banana", "Banana", "T-shirt")
    assert data.ids == ("images/banana/c.png", "images/banana/d.png", "images/t_shirt/b.png")


def test_other_folders_are_told(tmp_path):
    (tmp_path / "stuff").mkdir()
    with pytest.raises(SourceError, match=r"has no folders of classes \(n01440764 … or 0 … 999\)"):
        opened("imagenet1k", tmp_path)
    put(tmp_path, "val/n00000001/a.JPEG")
    with pytest.raises(SourceError, match="1 classes that ImageNet-1k does not have, such as n00000001"):
        opened("imagenet1k", tmp_path)
    with pytest.raises(SourceError, match="has no folder images"):
        opened("objectnet", tmp_path)
    with pytest.raises(ValueError, match="imagenet1k has its own classes and captions"):
        opened("imagenet1k", tmp_path, Columns(label="species"))
    (tmp_path / "val" / "n00000001").rename(tmp_path / "val" / "n01440764")
    (tmp_path / "val" / "n01440764" / "a.JPEG").unlink()
    with pytest.raises(SourceError, match="nothing of the test part is listed there"):
        opened("imagenet1k", tmp_path)


def test_an_export_is_read_whatever_the_set(tmp_path):
    root = export(tmp_path, [classified(4, 3), classified(2, 3)], classes=["tench", "missile", "missile"],
                  templates=["a bad photo of a {c}.", "a {c}"])
    data = opened("imagenet1k", root)
    assert data.labels == ("tench", "missile (1)", "missile (2)", "tench", "tench", "missile (1)")
    assert data.classes == ("tench", "missile (1)", "missile (2)")
    assert names_of(data) == ["tench", "missile", "missile"]
    assert data.templates == ("a bad photo of a {}.", "a {}") and data.ids[4] == "1.tar#s0000004"
    assert data.read(1) == drawn(1, "WEBP")
