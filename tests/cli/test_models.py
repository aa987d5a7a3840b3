"""`diptych models list` and `show`: every model of the catalogue is there, and so is all that is declared of one."""

import json
import re
from pathlib import Path

import pytest

from diptych.cli import models
from diptych.cli.main import main
from diptych.models.checkpoints import catalog

DOCS = Path(__file__).parents[2] / "docs" / "models.md"


def listed(capsys, *options: str) -> list[dict]:
    assert main(["--quiet", "models", "list", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def span(values: list[float], decimals: int = 0) -> str:
    low, high = (f"{value:,.{decimals}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def family_row(family: str) -> str:
    """A family's row in docs/models.md, but for what people wrote about it."""
    entries = catalog.filtered(family=family)
    many = [len(e.languages) for e in entries if len(e.languages) > 1]
    languages = ["English"] * any(len(e.languages) == 1 for e in entries) + ([span(many)] if many else [])
    native = ["native"] * any(e.towers.image.kind == "naflex" for e in entries)
    pixels = sorted({e.towers.image.image_size for e in entries if e.towers.image.kind != "naflex"})
    scores = [score for e in entries if e.general and (score := e.score(catalog.IMAGENET)) is not None]
    return (f"| {family} | {len(entries)} | {span([e.parameters / 1e6 for e in entries])} M | "
            f"{', '.join([*map(str, pixels), *native])} | {', '.join(languages)} | "
            f"{', '.join(sorted({e.licence for e in entries}))} | {span(scores, 1)} |")


def test_every_model_of_the_catalogue_is_listed_best_first(capsys):
    rows = listed(capsys)
    assert [row["name"] for row in rows] == [*(e.name for e in catalog.CATALOGUE), "diptych-tiny"]
    assert main(["--quiet", "models", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "HERE", "FAMILY", "PARAMETERS", "WIDTH", "PIXELS", "LANGUAGES", "LICENCE",
                            "IMAGENET"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    (general,) = (line for line in lines if line.startswith("siglip2-base-patch16-256 "))
    assert re.fullmatch(r"\S+ +no +SigLIP 2 +375 M +768 +256 +34 +Apache-2.0 +79.1", general)


def test_docs_describe_every_family_as_the_catalogue_has_it():
    text = DOCS.read_text(encoding="utf-8")
    assert f"{len(catalog.CATALOGUE)} published models" in text
    for family in catalog.families():
        assert family_row(family) in text
    for purpose in catalog.PURPOSES:
        assert f"`--for {purpose}`" in text
    for licence in catalog.LICENCES:
        assert licence in text


def test_the_list_can_be_narrowed_and_ordered(capsys):
    assert {row["family"] for row in listed(capsys, "--family", "siglip 2")} == {"SigLIP 2"}
    swahili = listed(capsys, "--language", "sw", "--for", "multilingual")
    assert swahili[0]["name"] == "nllb-siglip-mrl-large" and all("sw" in row["languages"] for row in swahili)
    assert listed(capsys, "--family", "Diptych")[0]["name"] == "diptych-tiny"  # of this machine, not the catalogue's
    assert "diptych-tiny" not in {row["name"] for row in listed(capsys, "--for", "accuracy")}
    assert tuple(catalog.PURPOSES) == models.PURPOSES


def test_a_purpose_is_explained_on_stderr(capsys):
    assert main(["models", "list", "--for", "multilingual"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].endswith("IMAGENET  XM3600  CVQA") and catalog.PURPOSES["multilingual"] in err


@pytest.mark.parametrize(("options", "sentence"), [
    (["--family", "EVA"], "the nearest is 'EVA-CLIP'"),
    (["--language", "tlh"], "no model of the catalogue has been measured in 'tlh'"),
    (["--family", "CLIP", "--language", "ko"], "no model of the catalogue is all of that"),
])
def test_what_is_not_there_is_a_sentence(options, sentence, capsys):
    assert main(["--quiet", "models", "list", *options]) == 1
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1


def test_show_tells_everything(capsys):
    assert main(["models", "show", "vit-b-32::OPENAI"]) == 0
    out = capsys.readouterr().out
    entry = catalog.get("clip-vit-base-patch32")
    assert out.startswith("clip-vit-base-patch32\n")
    for weights in entry.weights:
        assert (weights.repo or str(weights.url)) in out and weights.file in out and weights.layout in out
    for text in (*entry.aliases, "at refs/pr/15", "151,277,313", "any use, with the copyright notice",
                 "ImageNet top-1 63.32: open_clip", "probabilities of CLIP.png", '"quick_gelu"', '"cutoff": 0.5'):
        assert text in out
    main(["models", "show", "medsiglip-448"])
    out = capsys.readouterr().out
    assert "behind an account" in out and "no diagnosis" in out and "of a narrow domain" in out
    main(["models", "show", "siglip2-base-patch16-naflex"])
    assert "native pixels" in capsys.readouterr().out
    main(["models", "show", "diptych-tiny"])
    assert "models/bundled/diptych-tiny" in capsys.readouterr().out


@pytest.mark.parametrize("name", [
    "siglip2-base-patch16-naflex", "RN50", "CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k"])
def test_show_as_json_is_the_whole_record(name, capsys):
    from diptych.core.config import to_dict

    assert main(["models", "show", name, "--json"]) == 0
    shown, entry = json.loads(capsys.readouterr().out), catalog.get(name)
    assert to_dict(entry).items() <= shown.items() and shown["folder"] is None
    assert shown["results"]["ImageNet top-1"] == entry.score(catalog.IMAGENET)
