"""The REST interface under /api: search, collections with their facets and progress, pictures.

Endpoints that read from disk are plain functions, which FastAPI runs in its thread pool; searches have a pool of their
own, as wide as the machine has cores, so that a burst of them leaves threads for thumbnails.
"""

from collections.abc import Callable
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, File, Header, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse, RedirectResponse, Response

from diptych.core.types import Picture
from diptych.index.progress import read_progress
from diptych.index.search import Searcher
from diptych.index.store import PictureInfo
from diptych.inputs import image
from diptych.service import filters, uploads
from diptych.service.schemas import (
    CollectionState,
    FacetValue,
    PictureDetails,
    Problem,
    Progress,
    SearchAnswer,
    SearchParameters,
)
from diptych.service.shelf import Shelf, Slot
from diptych.service.uploads import Limits

KEPT_FOR_EVER = "private, max-age=31536000, immutable"
"""An id is a hash of the picture's content, so what it names never changes. Private: they are somebody's pictures."""

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_REFUSED = _NOT_FOUND | {422: {"model": Problem}, 503: {"model": Problem}}
_UPLOAD_REFUSED = _REFUSED | {413: {"model": Problem}, 415: {"model": Problem}}
_WEBP = {200: {"content": {"image/webp": {}}}, 304: {"description": "the browser has it already"}} | _NOT_FOUND
_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "TIFF": "image/tiff",
                "WEBP": "image/webp", "BMP": "image/bmp", "AVIF": "image/avif", "HEIF": "image/heic"}


def router(shelf: Shelf, limits: Limits) -> APIRouter:
    """The routes under /api for these collections."""
    api = APIRouter(prefix="/api")
    _searches(api, shelf, limits)
    _collections(api, shelf)
    _pictures(api, shelf)
    return api


def _searches(api: APIRouter, shelf: Shelf, limits: Limits) -> None:
    searches = CapacityLimiter(cpu_count() or 1)

    @api.get("/search", response_model=SearchAnswer, responses=_REFUSED, tags=["search"],
             summary="Search by text, or like a picture of the collection")
    async def search(asked: Annotated[SearchParameters, Query()]) -> SearchAnswer:
        """The pictures nearest in meaning. `answered` is false when none passes the model's relevance cut-off."""
        return await in_pool(partial(answer, asked))

    @api.post("/search", response_model=SearchAnswer, responses=_UPLOAD_REFUSED, tags=["search"],
              summary="Search by a picture, with or without text")
    async def search_by_picture(asked: Annotated[SearchParameters, Query()],
                                picture: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF "
                                                                                "or HEIC.")]) -> SearchAnswer:
        """Like GET, with a picture in the body; text and picture are fused by rank."""
        data = await picture.read(limits.max_bytes + 1)
        return await in_pool(lambda: answer(asked, uploads.picture_of(data, limits)))

    async def in_pool(search: Callable[[], SearchAnswer]) -> SearchAnswer:
        return await to_thread.run_sync(search, limiter=searches)

    def answer(asked: SearchParameters, uploaded: Picture | None = None) -> SearchAnswer:
        searcher = _ready(shelf, asked.collection or shelf.slots[0].name)
        if asked.like is not None:
            _row(searcher, asked.like)
        try:
            where = filters.where(asked.filter, searcher.collection.column_types(), asked.where)
            return SearchAnswer.of(searcher.search(
                asked.q, image=uploaded, like=asked.like, exclude=asked.exclude, where=where, k=asked.k,
                offset=asked.offset, hybrid=asked.hybrid))
        except ValueError as error:  # the caller's mistake, in a sentence
            raise HTTPException(422, str(error)) from error


def _collections(api: APIRouter, shelf: Shelf) -> None:
    @api.get("/collections", tags=["collections"], summary="What can be searched")
    def collections() -> list[CollectionState]:
        """Every collection with its model; the first one is the default."""
        return [CollectionState.of(slot) for slot in shelf.slots]

    @api.get("/collections/{name}", responses=_NOT_FOUND, tags=["collections"], summary="One collection")
    def collection(name: str) -> CollectionState:
        """Its state, size and model."""
        return CollectionState.of(_slot(shelf, name))

    @api.get("/collections/{name}/facets", responses=_REFUSED, tags=["collections"], summary="What filters are made of")
    def facets(name: str, column: Annotated[list[str] | None, Query(max_length=50)] = None) -> dict[
            str, list[FacetValue]]:
        """Values with their counts, most frequent first; of all columns with at most 50 values, or of those named."""
        try:
            found = _ready(shelf, name).collection.facets(column)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return {column: [FacetValue(value=value, count=count) for value, count in values]
                for column, values in found.items()}

    @api.get("/collections/{name}/progress", responses=_NOT_FOUND, tags=["collections"], summary="How far indexing is")
    def progress(name: str) -> Progress:
        """The running or last indexing job; what it has finished can already be found."""
        return Progress.of(read_progress(_slot(shelf, name).name))


def _pictures(api: APIRouter, shelf: Shelf) -> None:
    @api.get("/collections/{name}/pictures/{id}", responses=_REFUSED, tags=["pictures"], summary="One picture")
    def picture(name: str, id: str) -> PictureDetails:  # noqa: A002  the path's own name for it
        """What is known of it."""
        row = _row(_ready(shelf, name), id)
        return PictureDetails(id=row.id, uri=row.uri, captions=list(row.captions), width=row.width, height=row.height,
                              format=row.format, file_bytes=row.file_bytes, embedded_by=row.embedded_by,
                              indexed_at=row.indexed_at, metadata=dict(row.metadata))

    @api.get("/collections/{name}/pictures/{id}/thumbnail", responses=_WEBP, response_class=Response,
             tags=["pictures"], summary="A picture, small")
    def thumbnail(name: str, id: str, if_none_match: Annotated[str, Header()] = "") -> Response:  # noqa: A002
        """WebP, at most 256 pixels a side. It may be kept for ever."""
        headers = {"Cache-Control": KEPT_FOR_EVER, "ETag": f'"{id[:64]}"'}
        searcher = _ready(shelf, name)
        if headers["ETag"] in if_none_match and searcher.collection.row(id) is not None:
            return Response(status_code=304, headers=headers)
        data = searcher.collection.thumbnail(id)
        if data is None:
            raise _no_picture(searcher, id)
        return Response(data, media_type="image/webp", headers=headers)

    @api.get("/collections/{name}/pictures/{id}/original", responses=_NOT_FOUND, response_class=Response,
             tags=["pictures"], summary="A picture as it is on disk")
    def original(name: str, id: str) -> Response:  # noqa: A002
        """The file that was indexed. Redirects to the thumbnail where there is no such file (pictures from a table)."""
        searcher = _ready(shelf, name)
        row = _row(searcher, id)
        media_type = _media_type(row.uri)
        if media_type is None:
            return RedirectResponse("thumbnail", 307)
        return FileResponse(row.uri, media_type=media_type, headers={"Cache-Control": "private, no-cache"})


def _slot(shelf: Shelf, name: str) -> Slot:
    slot = shelf.find(name)
    if slot is None:
        names = ", ".join(slot.name for slot in shelf.slots)
        raise HTTPException(404, f"no collection {name!r} here; there are: {names}")
    return slot


def _ready(shelf: Shelf, name: str) -> Searcher:
    slot = _slot(shelf, name)
    if slot.searcher is None:
        sentence = slot.problem or f"{name} is being loaded; try again in a few seconds"
        raise HTTPException(503, sentence, headers={"Retry-After": "2"})
    return slot.searcher


def _row(searcher: Searcher, id_: str) -> PictureInfo:
    row = searcher.collection.row(id_)
    if row is None:
        raise _no_picture(searcher, id_)
    return row


def _no_picture(searcher: Searcher, id_: str) -> HTTPException:
    return HTTPException(404, f"no picture {id_[:80]!r} in {searcher.collection.name}; ids are in the hits of a search")


def _media_type(uri: str) -> str | None:
    """The media type of a local picture file; None if it is no file, or (any more) no picture: nothing else is sent."""
    try:
        with Path(uri).open("rb") as stream:
            format_ = image.sniff(stream.read(32))
    except (OSError, ValueError):
        return None
    return _MEDIA_TYPES.get(format_ or "")
