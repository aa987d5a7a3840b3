"""Drawings and photographs from elsewhere, that nobody here has trained on, found by name.

    apt-get install openclipart-svg
    python benchmarks/elsewhere.py                          # Debian's clip art: nouns of file names → pictures
    python benchmarks/elsewhere.py --photographs FOLDER     # and pictures called by their names: "a cup of coffee.png"
    python benchmarks/elsewhere.py --model runs/tiny/model --model diptych-tiny

Clip art is labelled by the first one or two words of its file name that WordNet knows as a noun, at most six of a noun;
many names are careless ("pink", "head"), so the ceiling is well below 1. Needs the extra `corpus` (resvg).
"""

import argparse
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from diptych import workbench
from diptych.core.types import Embedder
from diptych.data import nouns
from diptych.evaluation.metrics.ranking import hit_at_k, relevant_ranks

CLIP_ART = Path("/usr/share/openclipart/svg")
FOLDERS = ("animals", "food", "transportation", "tools", "plants", "electronics", "recreation/sports", "science",
           "recreation/music", "household", "buildings/furniture", "people/clothing", "office", "weapons", "containers")
LARGEST = 150_000  # bytes; larger ones are drawings of whole scenes


def clip_art(root: Path) -> list[tuple[str, Image.Image]]:
    """(noun, picture on a white square) of every drawing whose file name begins with a noun."""
    import resvg_py

    known = {lemma.lower() for row in nouns.read().to_pylist() for lemma in row["lemmas"]}
    found: list[tuple[str, Image.Image]] = []
    per_noun: Counter[str] = Counter()
    for path in sorted(root.rglob("*.svg")):
        noun = first_noun(path.stem, known)
        wanted = str(path.relative_to(root)).startswith(FOLDERS) and path.stat().st_size <= LARGEST
        if not wanted or noun is None or per_noun[noun] == 6:
            continue
        try:
            png = bytes(resvg_py.svg_to_bytes(svg_string=path.read_text(errors="ignore"), width=160))
            drawing = Image.open(io.BytesIO(png)).convert("RGBA")
        except Exception:  # any of a thousand hand-made files may be one that resvg cannot draw
            continue
        if drawing.getchannel("A").getextrema()[1] > 50:
            per_noun[noun] += 1
            found.append((noun, on_square(drawing)))
    return found


def first_noun(stem: str, known: set[str]) -> str | None:
    """The longest noun at the beginning of a file name: "baseball_bat_ganson" → "baseball bat"."""
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
    candidates = [" ".join(words[start : start + n]) for n in (2, 1) for start in range(min(2, len(words) - n + 1))]
    return next((c for c in candidates if len(c) > 2 and c in known), None)


def on_square(drawing: Image.Image) -> Image.Image:
    """Centred on a white square of 160 px."""
    square = Image.new("RGB", (max(drawing.size),) * 2, "white")
    square.paste(drawing, ((square.width - drawing.width) // 2, (square.height - drawing.height) // 2), drawing)
    return square.resize((160, 160))


def report(title: str, model: Embedder, named: list[tuple[str, Image.Image]]) -> None:
    """Text → picture hits of the distinct names among all these pictures."""
    names = sorted({name for name, _ in named})
    vectors = model.embed_images([picture for _, picture in named])
    positive = np.array([[name == asked for name, _ in named] for asked in names])
    ranks, _ = relevant_ranks(model.embed_texts(names), vectors, *np.nonzero(positive))
    hits = " ".join(f"R@{k} {hit_at_k(ranks, k).mean():.3f}" for k in (1, 5, 10))
    print(f"{model.spec.name:16} {title:13} {len(names)} names, {len(named)} pictures: {hits}, "
          f"median rank {np.median(ranks.first):.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--photographs", type=Path)
    args = parser.parse_args()
    sets = []
    if CLIP_ART.exists():
        sets.append(("clip art", clip_art(CLIP_ART)))
    else:
        print(f"no {CLIP_ART}: apt-get install openclipart-svg")
    if args.photographs:
        files = sorted(args.photographs.iterdir())
        sets.append(("photographs", [(file.stem, Image.open(file).convert("RGB")) for file in files]))
    for name in args.model or ["diptych-tiny"]:
        model = workbench.load_model(name)
        for title, named in sets:
            report(title, model, named)


if __name__ == "__main__":
    main()
