"""The exception tree. ValueError is the caller's mistake, this tree is the world's, assert is our own bug.

    DiptychError
    ├── PictureError          a file is not a picture we can read (its reason is a sentence for people)
    ├── SourceError           a data source cannot be read as asked
    ├── CorpusError           a corpus is missing, or does not match its manifest
    ├── CheckpointError       weights are missing, damaged or of another layout
    │   └── ModelNotFound     no model of that name
    └── CollectionError       a collection cannot be used as asked
        ├── CollectionNotFound
        ├── CollectionBusy    another process holds the writer's lease
        ├── IndexMismatch     vectors of one embedder met another embedder
        └── FilterError       a `where` expression is not SQL over this collection's columns

Every message says what was expected, what came, and the next step.
"""


class DiptychError(Exception):
    """Something in the world is not as it must be; the message says what to do next."""


class PictureError(DiptychError):
    """A file is not a picture we can read. `reason` is short and stable enough to count by."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class SourceError(DiptychError):
    """A data source cannot be read as asked."""


class CorpusError(DiptychError):
    """A corpus is missing, or does not match its manifest."""


class CheckpointError(DiptychError):
    """Weights are missing, damaged or of another layout."""


class ModelNotFound(CheckpointError):
    """No model of that name."""


class CollectionError(DiptychError):
    """A collection cannot be used as asked."""


class CollectionNotFound(CollectionError):
    """No collection of that name."""


class CollectionBusy(CollectionError):
    """Another process holds the writer's lease on this collection."""


class IndexMismatch(CollectionError):
    """Vectors made by one embedder met another embedder; their cosines mean nothing."""


class FilterError(CollectionError):
    """A `where` expression is not SQL over this collection's columns."""
