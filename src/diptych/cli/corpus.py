"""Build the open corpora again from their published sources, or check the copy on this machine.

  diptych corpus pictograms            the bundled drawings and names, from npm packages, into the cache
  diptych corpus pictograms --verify   check the copy in use against its manifest
  diptych corpus icons                 twelve thousand line drawings with English names, from elsewhere
  diptych corpus nouns                 ImageNet's nouns with their definitions, for the text tower
"""

import argparse
from pathlib import Path

HELP = "build the bundled corpora again, or verify them"


def arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per corpus, with where to and how large."""
    corpora = parser.add_subparsers(dest="corpus", metavar="CORPUS", required=True)
    pictograms = corpora.add_parser("pictograms", help="7 vendors' drawings of Unicode's pictograms, with names")
    icons = corpora.add_parser("icons", help="line drawings with English names and tags")
    nouns = corpora.add_parser("nouns", help="ImageNet's synsets: lemmas and definitions from WordNet")
    for command in (pictograms, icons, nouns):
        command.add_argument("--to", type=Path, metavar="DIR", help="the folder to write (default: in the cache)")
    for command in (pictograms, icons):
        command.add_argument("--size", type=int, default=96, help="width of the pictures in pixels (default 96)")
    pictograms.add_argument("--verify", action="store_true",
                            help="build nothing; check the files (of --to, else of the copy in use) by sha256")


def run(args: argparse.Namespace) -> int:
    """Build or verify, then print one line about the corpus."""
    from diptych.core.files import home

    where = args.to or home() / "corpora" / args.corpus
    if args.corpus == "icons":
        from diptych.data import icons

        print(f"{icons.build(where, args.size):,} icons in {where}")
        return 0
    if args.corpus == "nouns":
        from diptych.data import nouns

        print(f"{nouns.build(where):,} nouns in {where}")
        return 0
    from diptych.data import pictograms

    if args.verify:
        where = args.to or pictograms.folder()
        manifest = pictograms.verify(where)
    else:
        from diptych.data import pictograms_build

        manifest = pictograms_build.build(where, args.size)
    megabytes = sum(s.bytes for s in manifest.shards) / 1e6
    print(f"{manifest.counts['pictures']:,} pictures of {manifest.counts['pictograms']:,} pictograms, named in "
          f"{len(manifest.languages)} languages, {megabytes:.1f} MB, in {where}")
    print(f"manifest sha256 {manifest.sha256}")
    return 0
