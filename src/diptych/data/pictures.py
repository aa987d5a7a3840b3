"""The bytes of one picture that a table or a folder names, wherever it lies, and of the maps that lie beside it."""

from pathlib import Path

from diptych.core.errors import PictureError
from diptych.core.files import read_bytes
from diptych.inputs.image import MAX_BYTES, UNREADABLE, of_allowed_size, why_unreadable

NO_PICTURE = "no picture in the record"

MAPS = ("mask.png", "depth.png", "depth.npy")
"""What follows a picture's name in those of its maps: `boat.mask.png` beside `boat.jpg`."""


def read_picture(uri: str) -> bytes:
    """The encoded picture behind a path or a URL. PictureError says why not: missing, no permission, too large."""
    try:
        data = read_bytes(uri, MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(why_unreadable(error), f"{uri}: {error}") from error
    except Exception as error:  # fsspec's file systems have exceptions of their own
        raise PictureError(UNREADABLE, f"{uri}: {type(error).__name__}: {error}") from error
    return of_allowed_size(data)


def map_beside(uri: str, kind: str) -> bytes | None:
    """The map of a kind in `MAPS` beside a local picture, None where there is none; beside a remote one none, for each
    would be a request. PictureError says why it cannot be read."""
    if "://" in uri:
        return None
    file = Path(uri).with_suffix(f".{kind}")
    return read_picture(str(file)) if file.is_file() else None
