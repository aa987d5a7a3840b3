"""How fast pictures become rows, and where the time goes: the pipeline against the same work one step after another.

    python benchmarks/indexing.py                       # 5,000 drawn 96-px WebP, an embedder that costs nothing
    python benchmarks/indexing.py --embed-ms 5          # … that takes 5 ms a picture, as a small model on one core
    python benchmarks/indexing.py --model diptych-tiny  # … the bundled model
    python benchmarks/indexing.py --photographs         # 12-megapixel JPEG instead (50 distinct ones)
"""

import argparse
import hashlib
import io
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.core.types import EmbedderSpec, Pair
from diptych.index import store
from diptych.index.jobs import index_pairs
from diptych.index.schema import PictureRow, describe, picture_id
from diptych.index.writer import writing
from diptych.inputs import image

DIM = 256


class SleepingEmbedder:
    """Random vectors after a fixed time: what is left is the pipeline's own cost."""

    def __init__(self, embed_ms: float):
        self.embed_ms = embed_ms
        self.spec = EmbedderSpec(name="sleeping", fingerprint="0" * 64, dim=DIM, image_size=224, languages=(),
                                 score_kind="sigmoid", logit_scale=10.0, logit_bias=-10.0)

    def embed_images(self, pictures):
        time.sleep(self.embed_ms * len(pictures) / 1000)
        vectors = np.random.default_rng(0).standard_normal((len(pictures), DIM)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def embed_texts(self, texts):
        return self.embed_images(texts)


def drawn(count: int, side: int, format_: str, distinct: int) -> list[Pair]:
    """Pictures that differ in their bytes: `distinct` drawings, each told apart by appended bytes."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(min(distinct, count)):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((side, side * 3 // 4 if side > 1000 else side), Image.Resampling.BICUBIC).save(stream, format_)
        encoded.append(stream.getvalue())
    return [Pair(uri=f"drawn:{i}", data=encoded[i % len(encoded)] + i.to_bytes(4, "big"), captions=(f"drawing {i}",),
                 metadata={"number": i}) for i in range(count)]


def one_after_another(pairs: list[Pair], name: str, embedder, batch: int) -> tuple[float, dict[str, float]]:
    """The same decoding, embedding and writing without overlap."""
    collection = store.open_or_create(name, embedder.spec)
    seconds = dict.fromkeys(("decode", "embed", "write"), 0.0)
    start = time.perf_counter()
    with writing(collection) as writer:
        for at in range(0, len(pairs), batch):
            t0 = time.perf_counter()
            rows, pictures = [], []
            for pair in pairs[at:at + batch]:
                decoded = image.open_picture(pair.data)
                content_hash = hashlib.sha256(pair.data).hexdigest()
                pictures.append(decoded.picture)
                small = decoded.format == "WEBP" and decoded.width <= 256
                rows.append(PictureRow(
                    id=picture_id(content_hash, pair.uri), uri=pair.uri, source="", content_hash=content_hash,
                    stamp=None, described=describe(pair.captions, pair.metadata), captions=pair.captions,
                    width=decoded.width, height=decoded.height, format=decoded.format, file_bytes=len(pair.data),
                    thumbnail=pair.data if small else image.thumbnail(decoded.picture), metadata=pair.metadata,
                    vector=np.empty(0, np.float32)))
            t1 = time.perf_counter()
            vectors = embedder.embed_images(pictures)
            t2 = time.perf_counter()
            writer.upsert([replace(row, vector=vector) for row, vector in zip(rows, vectors, strict=True)])
            for phase, spent in zip(seconds, (t1 - t0, t2 - t1, time.perf_counter() - t2), strict=True):
                seconds[phase] += spent
        writer.optimize()
    return time.perf_counter() - start, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--embed-ms", type=float, default=0.0, help="milliseconds a picture of the stand-in model")
    parser.add_argument("--model", help="a real model instead")
    parser.add_argument("--photographs", action="store_true", help="12-megapixel JPEG")
    args = parser.parse_args()
    if args.model:
        from diptych.workbench import load_model
        embedder = load_model(args.model)
    else:
        embedder = SleepingEmbedder(args.embed_ms)
    kind = (4000, "JPEG", 50) if args.photographs else (96, "WEBP", 2000)
    pairs = drawn(args.pictures, *kind)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DIPTYCH_HOME"] = folder
        report = index_pairs({"drawn": pairs}, store.open_or_create("pipeline", embedder.spec), embedder,
                             total=len(pairs), batch=args.batch)
        spent, seconds = one_after_another(pairs, "sequence", embedder, args.batch)
        again = index_pairs({"drawn": pairs}, store.Collection("pipeline"), embedder)
        disk = sum(path.stat().st_size for path in Path(folder, "collections", "pipeline").rglob("*") if path.is_file())
    say = lambda phases: ", ".join(f"{name} {value:.1f} s" for name, value in phases.items())  # noqa: E731
    print(f"{len(pairs):,} pictures, {os.cpu_count()} cores, batch {args.batch}, model {embedder.spec.name}")
    print(f"pipeline   {report.seconds:6.1f} s  {len(pairs) / report.seconds:7.0f} pictures/s  "
          f"({say(report.seconds_by_phase)})")
    print(f"sequence   {spent:6.1f} s  {len(pairs) / spent:7.0f} pictures/s  ({say(seconds)})")
    print(f"ratio      {spent / report.seconds:6.2f}")
    print(f"unchanged  {again.seconds:6.1f} s  {len(pairs) / again.seconds:7.0f} pictures/s  (bytes read and compared)")
    print(f"disk       {disk / len(pairs):6.0f} bytes a picture")


if __name__ == "__main__":
    main()
