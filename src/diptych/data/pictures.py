"""The bytes of one picture that a table or a folder names, wherever it lies, and the maps that lie beside it."""

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


def maps_beside(uri: str) -> dict[str, bytes]:
    """The maps beside a local picture, by what follows its name; of a remote one none, for each would be a request."""
    if "://" in uri:
        return {}
    files = {suffix: Path(uri).with_suffix(f".{suffix}") for suffix in MAPS}
    return {suffix: read_picture(str(file)) for suffix, file in files.items() if file.is_file()}
