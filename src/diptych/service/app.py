"""The ASGI app: REST under /api, the page, its documentation, probes and metrics.

Everything it needs is passed in; it loads no model and opens no collection. Errors are sentences: the world's
(`DiptychError`) and the caller's (validation) alike.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as StarletteHTTPException

from diptych.core.errors import CollectionNotFound, DiptychError, FilterError, IndexMismatch
from diptych.service import rest, uploads
from diptych.service.guard import LOCAL_HOSTS, Guard
from diptych.service.metrics import Metrics, RequestMetrics
from diptych.service.schemas import CollectionState, Readiness
from diptych.service.shelf import Shelf, State
from diptych.service.uploads import Limits, UploadRefused

PAGES = Path(__file__).parent / "pages"


def create_app(shelf: Shelf, *, hosts: Sequence[str] | None = LOCAL_HOSTS, limits: Limits | None = None) -> FastAPI:
    """The app for these collections. `hosts` are the names it answers to; None: any, for other machines to reach it."""
    limits = limits or Limits()
    metrics = Metrics(shelf)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = metrics.listen()
        yield
        stop()

    app = FastAPI(title="Diptych", version=version("diptych"), lifespan=lifespan, docs_url=None, redoc_url=None,
                  description="Search picture collections by meaning: with text in any language, or with a picture.")
    app.add_middleware(Guard, hosts=hosts, max_bytes=limits.max_request_bytes,
                       too_large=lambda: uploads.too_large(limits))
    app.add_middleware(RequestMetrics, metrics=metrics)
    _errors_are_sentences(app, metrics)
    app.include_router(rest.router(shelf, limits))
    _probes(app, shelf, metrics)
    _pages(app)
    return app


def _probes(app: FastAPI, shelf: Shelf, metrics: Metrics) -> None:
    @app.get("/livez", tags=["operations"], summary="The process answers")
    async def livez() -> dict[str, bool]:
        """Always 200: restart the process if it is not."""
        return {"alive": True}

    @app.get("/readyz", responses={503: {"model": Readiness}}, tags=["operations"], summary="All can be searched")
    def readyz(response: Response) -> Readiness:
        """503 until the model and every collection are loaded."""
        states: dict[str, State] = {slot.name: CollectionState.of(slot).state for slot in shelf.slots}
        ready = set(states.values()) == {"ready"}
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, collections=states)

    @app.get("/metrics", response_class=Response, tags=["operations"], summary="Numbers for Prometheus")
    def metrics_page() -> Response:
        """Requests, search times, indexed pictures, refused uploads."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


def _pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(PAGES / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    def docs() -> FileResponse:
        return FileResponse(PAGES / "docs.html", headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> FileResponse:
        return FileResponse(PAGES / "mark.svg", media_type="image/svg+xml")

    app.mount("/pages", _Revalidated(directory=PAGES), name="pages")


class _Revalidated(StaticFiles):
    """Static files that the browser asks for again each time: after an upgrade no old script meets a new page."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        response.headers["Cache-Control"] = "no-cache"
        return response


def _errors_are_sentences(app: FastAPI, metrics: Metrics) -> None:
    @app.exception_handler(UploadRefused)
    async def upload_refused(_: Request, error: UploadRefused) -> JSONResponse:
        metrics.uploads_rejected.labels(error.reason).inc()
        return _problem(error.status_code, error.detail)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404 and error.detail == "Not Found":
            return _problem(404, f"there is nothing at {request.url.path}; /docs lists what there is")
        return _problem(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(422, "; ".join(_sentence(problem) for problem in error.errors()))

    @app.exception_handler(DiptychError)
    async def world(_: Request, error: DiptychError) -> JSONResponse:
        match error:
            case FilterError():
                return _problem(422, str(error))
            case CollectionNotFound():
                return _problem(404, str(error))
            case IndexMismatch():
                return _problem(409, str(error))
            case _:
                return _problem(503, str(error), {"Retry-After": "2"})


def _problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status, headers=headers)


def _sentence(problem: dict[str, object]) -> str:
    """One of pydantic's findings for people: `k: input should be less than or equal to 200, got '500'`."""
    where = problem["loc"]
    name = str(where[1] if isinstance(where, tuple) and len(where) > 1 else where)
    message = str(problem["msg"])
    said = f"{name}: {message[:1].lower()}{message[1:]}"
    return f"{said}, got {str(problem['input'])[:80]!r}" if isinstance(problem.get("input"), str) else said
