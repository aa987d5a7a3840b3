"""The public sets that `--on NAME` knows: what they are, whose, and in which layout people keep them.

`vtab+` are the 35 of CLIP_benchmark's collection (arXiv 2210.08402 §5.2, without its multi-label VOC 2007); names and
counts are CLIP_benchmark's and DataComp's. Licences are for orientation: what counts is what the home says.
"""

import difflib
from dataclasses import dataclass
from typing import Literal

from diptych.core.errors import SourceError

Layout = Literal["imagenet", "objectnet", "coco", "flickr30k", "xm3600", "winoground", "sugarcrepe", "dollar_street",
                 "geode", "fairface", "export"]
"""How the set lies on disk as its authors publish it; "export": as CLIP_benchmark's shards alone, which are read of
every set that has them."""

LAYOUTS: dict[Layout, str] = {
    "imagenet": "class folders (n01440764/ …, or 0/ … 999/), in it or in val/, or ILSVRC2012_val_*.JPEG with "
                "LOC_val_solution.csv",
    "objectnet": "images/ and mappings/ of objectnet-1.0",
    "coco": "dataset_coco.json, coco_test_karpathy.json, coco_karpathy_test.json or annotations/captions_val2017.json, "
            "with val2014/ or val2017/",
    "flickr30k": "dataset_flickr30k.json, flickr30k_test.json, flickr30k_test_karpathy.txt, or results_20130124.token "
                 "or results.csv with test.txt, with flickr30k-images/",
    "xm3600": "captions.jsonl and images/",
    "winoground": "data/examples.jsonl or examples.jsonl, and the unpacked images/",
    "sugarcrepe": "data/add_att.json … swap_obj.json, and COCO's val2017/",
    "dollar_street": "images_v2_imagenet_test.csv or images_v2.csv, and assets/",
    "geode": "index.csv and images/",
    "fairface": "fairface_label_val.csv and val/",
    "export": "test/0.tar …, classnames.txt and zeroshot_classification_templates.txt",
}
"""For people."""


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """`size` is how many pictures are tested, or pairs of captions in compositional sets. `hub` is the repository of
    its export on the Hugging Face hub, "" where there is none that is read. `label` is the column of the classes in
    sets with several."""

    name: str
    about: str
    task: Literal["zero-shot", "retrieval", "compositional"]
    size: int
    home: str
    licence: str = "see its home"
    layout: Layout = "export"
    hub: str = ""
    aliases: tuple[str, ...] = ()
    label: str | None = None
    vtab_plus: bool = False


def _imagenet(name: str, about: str, size: int, home: str, licence: str, *aliases: str, vtab_plus: bool = True,
              layout: Layout = "imagenet") -> PublicSet:
    return PublicSet(name=name, about=about, task="zero-shot", size=size, home=home, licence=licence, layout=layout,
                     hub=f"clip-benchmark/wds_{name}", aliases=aliases, vtab_plus=vtab_plus)


def _export(name: str, about: str, size: int, home: str, licence: str = "see its home", vtab: bool = True) -> PublicSet:
    published = f"vtab/{name}" if vtab else name
    return PublicSet(name=name, about=about, task="zero-shot", size=size, home=home, licence=licence,
                     hub=f"clip-benchmark/wds_{published.replace('/', '-')}", aliases=(published,) if vtab else (),
                     vtab_plus=True)


SETS: tuple[PublicSet, ...] = (
    _imagenet("imagenet1k", "ImageNet-1k, validation part", 50000, "image-net.org", "research, on request",
              "imagenet", "imagenet-1k", "ILSVRC2012", "ILSVRC"),
    _imagenet("imagenetv2", "ImageNet V2, matched frequency", 10000, "github.com/modestyachts/ImageNetV2", "MIT",
              "imagenet-v2", "ImageNetV2-matched-frequency", "imagenetv2-matched-frequency-format-val"),
    _imagenet("imagenet-a", "ImageNet-A: natural adversarial pictures", 7500,
              "github.com/hendrycks/natural-adv-examples", "MIT"),
    _imagenet("imagenet-r", "ImageNet-R: renditions", 30000, "github.com/hendrycks/imagenet-r", "MIT"),
    _imagenet("imagenet-o", "ImageNet-O: pictures of none of the classes; accuracy by their folders, as CLIP_benchmark",
              2000, "github.com/hendrycks/natural-adv-examples", "MIT", vtab_plus=False),
    _imagenet("imagenet_sketch", "ImageNet-Sketch", 50889, "github.com/HaohanWang/ImageNet-Sketch", "MIT",
              "imagenet-sketch", "sketch"),
    _imagenet("objectnet", "ObjectNet's 113 classes that ImageNet has", 18574, "objectnet.dev",
              "its own: for tests only", "objectnet-1.0", layout="objectnet"),
    _export("fer2013", "facial expressions", 7178, "kaggle.com/datasets/msambare/fer2013", vtab=False),
    _export("voc2007", "Pascal VOC 2007, one object a crop", 14976, "host.robots.ox.ac.uk/pascal/VOC/voc2007",
            vtab=False),
    _export("sun397", "scenes", 108754, "vision.princeton.edu/projects/2010/SUN", vtab=False),
    _export("cars", "Stanford Cars", 8041, "ai.stanford.edu/~jkrause/cars/car_dataset.html", "research", vtab=False),
    _export("fgvc_aircraft", "aircraft variants", 3333, "www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft", "research",
            vtab=False),
    _export("mnist", "digits", 10000, "yann.lecun.com/exdb/mnist", vtab=False),
    _export("stl10", "STL-10", 8000, "cs.stanford.edu/~acoates/stl10", vtab=False),
    _export("gtsrb", "German traffic signs", 12630, "benchmark.ini.rub.de", vtab=False),
    _export("country211", "which country", 21100, "github.com/openai/CLIP/blob/main/data/country211.md", vtab=False),
    _export("renderedsst2", "rendered reviews, good or bad", 1821,
            "github.com/openai/CLIP/blob/main/data/rendered-sst2.md", vtab=False),
    _export("caltech101", "Caltech-101", 6085, "data.caltech.edu/records/mzrjq-6wc02", "CC BY 4.0"),
    _export("cifar10", "CIFAR-10", 10000, "www.cs.toronto.edu/~kriz/cifar.html"),
    _export("cifar100", "CIFAR-100", 10000, "www.cs.toronto.edu/~kriz/cifar.html"),
    _export("clevr_count_all", "CLEVR: how many objects", 15000, "cs.stanford.edu/people/jcjohns/clevr", "CC BY 4.0"),
    _export("clevr_closest_object_distance", "CLEVR: how far the nearest", 15000,
            "cs.stanford.edu/people/jcjohns/clevr", "CC BY 4.0"),
    _export("diabetic_retinopathy", "grades of diabetic retinopathy", 42670,
            "kaggle.com/c/diabetic-retinopathy-detection", "the competition's"),
    _export("dmlab", "DMLab: how far which fruit", 22735, "github.com/google-research/task_adaptation"),
    _export("dsprites_label_orientation", "dSprites: orientation", 73728, "github.com/google-deepmind/dsprites-dataset",
            "Apache 2.0"),
    _export("dsprites_label_x_position", "dSprites: place", 73728, "github.com/google-deepmind/dsprites-dataset",
            "Apache 2.0"),
    _export("dtd", "describable textures", 1880, "www.robots.ox.ac.uk/~vgg/data/dtd", "research"),
    _export("eurosat", "land use from satellites", 5400, "github.com/phelber/EuroSAT", "MIT"),
    _export("kitti_closest_vehicle_distance", "KITTI: how far the nearest vehicle", 711,
            "www.cvlibs.net/datasets/kitti", "CC BY-NC-SA 3.0"),
    _export("flowers", "Oxford Flowers-102", 6149, "www.robots.ox.ac.uk/~vgg/data/flowers/102"),
    _export("pets", "Oxford-IIIT Pets", 3669, "www.robots.ox.ac.uk/~vgg/data/pets", "CC BY-SA 4.0"),
    _export("pcam", "PatchCamelyon: metastases", 32768, "github.com/basveeling/pcam", "CC0"),
    _export("resisc45", "aerial scenes", 6300, "www.escience.cn/people/JunweiHan/NWPU-RESISC45.html"),
    _export("smallnorb_label_azimuth", "smallNORB: azimuth", 12150, "cs.nyu.edu/~ylclab/data/norb-v1.0-small",
            "research"),
    _export("smallnorb_label_elevation", "smallNORB: elevation", 12150, "cs.nyu.edu/~ylclab/data/norb-v1.0-small",
            "research"),
    _export("svhn", "house numbers", 26032, "ufldl.stanford.edu/housenumbers", "not for commerce"),
    PublicSet(name="mscoco_captions", about="MS-COCO captions, Karpathy's 5k test part", task="retrieval", size=5000,
              home="cocodataset.org", licence="captions CC BY 4.0, pictures Flickr's terms", layout="coco",
              hub="clip-benchmark/wds_mscoco_captions", aliases=("coco", "mscoco", "COCO")),
    PublicSet(name="flickr30k", about="Flickr30k, Karpathy's 1k test part", task="retrieval", size=1000,
              home="shannon.cs.illinois.edu/DenotationGraph", licence="research, on request", layout="flickr30k",
              hub="clip-benchmark/wds_flickr30k", aliases=("flickr30k_images",)),
    PublicSet(name="xm3600", about="Crossmodal-3600: captions in 36 languages", task="retrieval", size=3600,
              home="google.github.io/crossmodal-3600", licence="CC BY 4.0", layout="xm3600",
              aliases=("crossmodal3600", "crossmodal-3600")),
    PublicSet(name="winoground", about="two pictures, two captions of the same words", task="compositional", size=400,
              home="huggingface.co/datasets/facebook/winoground", licence="research, on request", layout="winoground"),
    PublicSet(name="sugarcrepe", about="COCO captions against hard negatives of seven kinds", task="compositional",
              size=7512, home="github.com/RAIVNLab/sugar-crepe", licence="MIT", layout="sugarcrepe",
              aliases=("sugar_crepe", "sugar-crepe")),
    PublicSet(name="dollar_street", about="objects in homes by income and region", task="zero-shot", size=4308,
              home="mlcommons.org/datasets/dollar-street", licence="CC BY-SA 4.0", layout="dollar_street",
              aliases=("dollarstreet", "dollar-street", "dataset_dollarstreet"), label="topic"),
    PublicSet(name="geode", about="objects by region of the world", task="zero-shot", size=61940,
              home="geodiverse-data-collection.cs.princeton.edu", licence="CC BY 4.0", layout="geode", label="object"),
    PublicSet(name="fairface", about="faces by race, gender and age, validation part", task="zero-shot", size=10954,
              home="github.com/joojs/fairface", licence="CC BY 4.0", layout="fairface", label="race"),
)


def find(name: str) -> PublicSet | None:
    """By its name, an alias, or its repository on the hub; capitals make no difference."""
    asked = name.lower()
    return next((one for one in SETS if asked in {each.lower() for each in (one.name, *one.aliases, one.hub) if each}),
                None)


def get(name: str) -> PublicSet:
    """The set of that name. SourceError with the nearest names."""
    if found := find(name):
        return found
    near = difflib.get_close_matches(name.lower(), ["pictograms", *(
        each for one in SETS for each in (one.name, *one.aliases))], 3)
    raise SourceError(f"no file, folder or public set {name!r}; "
                      + (f"the nearest sets are {', '.join(near)}; " if near else "")
                      + "`diptych compare --sets` lists all of them")
