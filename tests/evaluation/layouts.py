"""Public sets in small: a few made pictures in the layout that their authors publish."""

import csv
import io
import json
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.evaluation.dataset import Dataset
from diptych.evaluation.public import catalogue
from diptych.evaluation.public.compositional import KINDS
from diptych.evaluation.public.opening import open_public
from diptych.evaluation.sets import Columns


def opened(name: str, root: Path, columns: Columns | None = None) -> Dataset:
    return open_public(catalogue.get(name), root, columns)


def drawn(seed: int, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def put(root: Path, *names: str) -> Path:
    """A picture, each another one, under each of these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn(zlib.crc32(name.encode()), "PNG" if name.endswith("png") else "JPEG"))
    return root


def write(root: Path, name: str, text: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def write_csv(root: Path, name: str, rows: list[dict[str, str]]) -> Path:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return write(root, name, stream.getvalue())


def export(root: Path, shards: list[list[dict[str, bytes]]], classes=(), templates=(), kind="") -> Path:
    """As CLIP_benchmark's `convert_dataset` writes it: keys s0000000 …, counted over all shards."""
    (root / "test").mkdir(parents=True)
    number = 0
    for shard, records in enumerate(shards):
        with tarfile.open(root / "test" / f"{shard}.tar", "w") as tar:
            for record in records:
                for suffix, data in record.items():
                    info = tarfile.TarInfo(f"s{number:07}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                number += 1
    write(root, "test/nshards.txt", f"{len(shards)}\n")
    if classes:
        write(root, "classnames.txt", "\n".join(classes) + "\n")
    if templates:
        write(root, "zeroshot_classification_templates.txt", "\n".join(templates) + "\n")
    if kind:
        write(root, "dataset_type.txt", f"{kind}\n")
    return root


def classified(count: int, classes: int) -> list[dict[str, bytes]]:
    return [{"webp": drawn(number, "WEBP"), "cls": str(number % classes).encode()} for number in range(count)]


def karpathy(root: Path, name: str, place: str = "") -> Path:
    images = [{**({"filepath": place} if place else {}), "filename": f"{part}{number}.jpg", "split": part,
               "sentences": [{"raw": f"{part} {number}, said {said}"} for said in range(5)]}
              for part, count in (("train", 2), ("test", 3)) for number in range(count)]
    return write(root, name, {"images": images})


def coco_annotations(root: Path, name: str, prefix: str) -> Path:
    return write(root, name, {
        "images": [{"id": 10 + number, "file_name": f"{prefix}{number}.jpg"} for number in range(3)],
        "annotations": [{"id": said, "image_id": 10 + said % 3, "caption": f"said {said}"} for said in range(6)]})


def winoground(root: Path, name: str = "data/examples.jsonl") -> Path:
    examples = [("some plants surrounding a lightbulb", "a lightbulb surrounding some plants", "Object"),
                ("the dog sits on the bed", "the bed sits on the dog", "Both"),
                ("the dog sits on the bed", "the bed is on the sitting dog", "Relation")]
    lines = [json.dumps({"id": at, "image_0": f"ex_{at}_img_0", "image_1": f"ex_{at}_img_1", "caption_0": one,
                         "caption_1": other, "tag": "Noun Phrase", "collapsed_tag": tag})
             for at, (one, other, tag) in enumerate(examples)]
    write(root, name, "\n".join(lines) + "\n")
    return put(root, *(f"{Path(name).parent}/images/ex_{at}_img_{image}.png" for at in range(3) for image in (0, 1)))


def sugarcrepe(root: Path) -> Path:
    for kind in KINDS:
        write(root, f"data/{kind}.json", {
            "0": {"filename": "000000000001.jpg", "caption": "a cat on a mat", "negative_caption": f"{kind}: not one"},
            "7": {"filename": "000000000002.jpg", "caption": "a cat on a mat", "negative_caption": f"{kind}: not two"}})
    return put(root, "val2017/000000000001.jpg", "val2017/000000000002.jpg")


def xm3600(root: Path) -> Path:
    rows = [{"image/key": f"{key:016x}", "image/locale": locale, "en": {"caption": [f"thing {key}", f"a thing {key}"]},
             "quz": {"caption": [f"ima {key}"], "caption/tokenized": ["ima"]}, "fil": {"caption": [f"bagay {key}"]}}
            for key, locale in enumerate(["en", "quz", "fil"])]
    write(root, "captions.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n")
    return put(root, *(f"images/{key:016x}.jpg" for key in range(3)))


def dollar_street(root: Path, name: str = "images_v2.csv") -> Path:
    rows = [{"id": f"5d4be{at}", "country.name": country, "country.id": country[:2].lower(), "region.id": region,
             "place": "home", "topics": f"['{topic}']", "imageRelPath": f"assets/5d4be{at}/5d4be{at}.jpg",
             "income": income, "imagenet_synonyms": f"['{topic.lower()}', 'other']"}
            for at, (country, region, topic, income) in enumerate([
                ("Malawi", "af", "Beds", "55.0"), ("India", "as", "Stoves", "321.5"),
                ("Brazil", "am", "Beds", "1200"), ("France", "eu", "Stoves", "10098.0")])]
    rows[1]["topics"] = "['Stoves', 'Kitchens']"
    write_csv(root, name, rows)
    return put(root, *(row["imageRelPath"] for row in rows))


def geode(root: Path) -> Path:
    rows = [{"file_path": f"{number}.{thing}/{country}_{thing}_{number}.jpg", "object": thing, "region": region,
             "ip_country": country, "script_name": thing}
            for number, (thing, region, country) in enumerate([
                ("hand_soap", "Africa", "Nigeria"), ("bag", "Europe", "Italy"), ("bag", "WestAsia", "Jordan")])]
    write_csv(root, "index.csv", rows)
    return put(root, *(f"images/{row['file_path']}" for row in rows))


def fairface(root: Path) -> Path:
    rows = [{"file": f"val/{number}.jpg", "age": age, "gender": gender, "race": race, "service_test": "True"}
            for number, (age, gender, race) in enumerate([
                ("3-9", "Male", "East Asian"), ("50-59", "Female", "Latino_Hispanic"),
                ("30-39", "Female", "Black")], 1)]
    write_csv(root, "fairface_label_val.csv", rows)
    return put(root, *(row["file"] for row in rows))


def objectnet(root: Path) -> Path:
    write(root, "mappings/folder_to_objectnet_label.json", {
        "air_freshener": "Air freshener", "t_shirt": "T-shirt", "banana": "Banana"})
    write(root, "mappings/objectnet_to_imagenet_1k.json", {"T-shirt": "jersey, T-shirt, tee shirt", "Banana": "banana"})
    return put(root, "images/air_freshener/a.png", "images/t_shirt/b.png", "images/banana/c.png", "images/banana/d.png")
