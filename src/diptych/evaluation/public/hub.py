"""The test part of a public set from the Hugging Face hub, as CLIP_benchmark exports it, into `$DIPTYCH_HOME/sets`.

A download that was stopped goes on where it was; what is whole is not asked for again. Who is logged in to the hub is
known to it, for sets behind an account.
"""

from pathlib import Path

from diptych.core import telemetry
from diptych.core.errors import SourceError
from diptych.core.files import home
from diptych.evaluation.exports import SHARDS

TEXTS, TARS = ("*.txt", "test/*.txt"), ("test/*.tar",)
"""Patterns of what is downloaded."""


def place_of(repo: str) -> Path:
    """Where a repository's files are kept."""
    return home() / "sets" / repo


def fetch(repo: str, endpoint: str | None = None) -> Path:
    """The folder with the repository's export, downloaded unless it is whole. `endpoint` is another hub than the public
    one ($HF_ENDPOINT by default). SourceError when the hub cannot be reached, or has no such export."""
    from huggingface_hub import snapshot_download

    folder = place_of(repo)
    if is_whole(folder):
        return folder
    telemetry.notice(f"downloading the test part of {repo} into {folder}")
    try:
        for files in (TEXTS, TARS):  # the shards last: where they all are, everything is
            snapshot_download(repo, repo_type="dataset", local_dir=folder, allow_patterns=list(files),
                              endpoint=endpoint)
    except Exception as error:  # what a lost network raises depends on the HTTP library of huggingface_hub's version
        reason = str(error).strip().split("\n")[0]
        raise SourceError(f"cannot get {repo} from the hub ({type(error).__name__}: {reason}). Run the command again "
                          "where the hub can be reached: it goes on where it stopped. A set behind an account needs "
                          f"its terms accepted and `hf auth login`; or copy its files into {folder}") from error
    if not is_whole(folder):
        raise SourceError(f"{repo} is no whole export as CLIP_benchmark makes them: expected test/{SHARDS} with their "
                          f"number and test/0.tar …; {folder} has {len(list(folder.glob('test/*.tar')))} shards")
    return folder


def is_whole(folder: Path) -> bool:
    """Whether all shards are there that the export says it has."""
    said = folder / "test" / SHARDS
    if not said.is_file():
        return False
    count = said.read_text(encoding="utf-8").strip()
    return count.isdigit() and int(count) > 0 and all(
        (folder / "test" / f"{number}.tar").is_file() for number in range(int(count)))
