"""The viewer's server: the page, tiles, pixels and questions of some runs.

A request names a run by its number, a layer by its name and a place by numbers; nothing that it
says becomes a path or an address. Reading and computing go on in threads beside the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dask.system import CPU_COUNT
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from models.errors import TimesenError, UserError
from models.visible_text import visible_text
from pipeline.product.layers import CLASS, CONFIDENCE, TRUE_COLOUR
from pipeline.viewer.map_tiles import MapTile
from pipeline.viewer.page_files import page_files
from pipeline.viewer.pixel_facts import PixelFacts, pixel_facts
from pipeline.viewer.protection import Basemap, Guard, content_policy
from pipeline.viewer.questions import Question
from pipeline.viewer.saved_question import saved_examples, saved_vocabulary
from pipeline.viewer.tile_pictures import class_png, empty_png, true_colour_png
from pipeline.viewer.tile_reading import MapTileReader
from pipeline.viewer.viewed_run import ViewedRun

if TYPE_CHECKING:
    from pipeline.viewer.asked_run import AskedRun
    from pipeline.viewer.pixel_series import SeriesReader

_T = TypeVar("_T")
_KEPT = {"cache-control": "private, max-age=86400, immutable"}  # its address names the version
_ANEW = {"cache-control": "no-store"}
_GONE = 499  # nginx's number for a client that has closed the request
_MOST_ONLY = 1000


class _Threads:
    """Threads for tiles, as many as cores, a few for what takes long, one for what can wait."""

    def __init__(self) -> None:
        self._tiles = ThreadPoolExecutor(max(2, CPU_COUNT), "tiles")
        self._slow = ThreadPoolExecutor(4, "slow")
        self.ahead = ThreadPoolExecutor(1, "ahead")
        self._free = asyncio.Semaphore(max(2, CPU_COUNT))

    async def tile(self, request: Request, make: Callable[[], bytes]) -> Response:
        """The PNG that a function makes, unless nobody waits for it any more."""
        async with self._free:
            if await request.is_disconnected():
                return Response(status_code=_GONE)
            content = await asyncio.get_running_loop().run_in_executor(self._tiles, make)
        return Response(content, media_type="image/png", headers=_KEPT)

    async def slow(self, make: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._slow, make)

    def close(self) -> None:
        for pool in (self._tiles, self._slow, self.ahead):
            pool.shutdown(wait=False, cancel_futures=True)


class _Viewed:
    """A run with its readers; what needs torch is made when it is first used."""

    def __init__(self, run: ViewedRun) -> None:
        self.run, self.tiles = run, MapTileReader(run)
        self._series: SeriesReader | None = None
        self._asked: AskedRun | None = None
        self._making = Lock()

    def series(self) -> "SeriesReader":
        with self._making:
            if self._series is None:
                from pipeline.viewer.pixel_series import SeriesReader

                self._series = SeriesReader(self.run)
            return self._series

    def asked(self) -> "AskedRun":
        with self._making:
            if self._asked is None:
                from pipeline.viewer.asked_run import AskedRun, embedded_run

                if (source := embedded_run(self.run)) is None:
                    raise UserError(
                        "this run", "it kept no embeddings", "Map it with --keep-embeddings to ask"
                    )
                self._asked = AskedRun(source, self.run)
            return self._asked

    def pixel(self, lon: float, lat: float) -> PixelFacts | None:
        """The facts of a pixel; next best classes that were not kept come from its embedding."""
        facts = pixel_facts(self.run, lon, lat)
        by_words = self.run.may_be_asked and not self.run.manifest.settings.get("examples")
        if facts is not None and facts.note and by_words:
            with suppress(TimesenError):
                asked = self.asked()
                own = asked.answer(asked.ask(Question())["id"])
                top = asked.at(own, lon, lat)["top"]
                return replace(facts, top=top or facts.top, note="" if top else facts.note)
        return facts

    def warm_up(self) -> None:
        """Read and load in advance what the first views and questions need."""
        if self.run.may_be_asked:
            with suppress(TimesenError):  # which is told when it is asked
                self.asked().warm_up()
        self.tiles.load_far_views([CLASS, CONFIDENCE])

    def class_tile(self, tile: MapTile, only: Collection[int], fade: bool) -> bytes:
        values = self.tiles.read(CLASS, tile)
        if values is None:
            return empty_png()
        confidence = self.tiles.read(CONFIDENCE, tile) if fade else None
        legend = self.run.vocabulary.legend
        return class_png(values[0], legend, only, None if confidence is None else confidence[0])

    def true_colour_tile(self, tile: MapTile) -> bytes:
        values = self.tiles.read(TRUE_COLOUR, tile)
        return empty_png() if values is None else true_colour_png(values)


def viewer_app(
    runs: Sequence[ViewedRun], names: Collection[str], basemap: Basemap | None = None
) -> FastAPI:
    """The application that shows runs.

    Args:
        runs: The runs.
        names: The names by which it may be asked (`pipeline.viewer.protection`).
        basemap: A basemap, if the user named one.
    """
    viewed = [_Viewed(run) for run in runs]
    threads: list[_Threads] = []  # made in the event loop

    @asynccontextmanager
    async def life(_: FastAPI) -> Any:
        threads.append(_Threads())
        for one in viewed:
            threads[0].ahead.submit(one.warm_up)
        yield
        threads[0].close()

    app = FastAPI(title="timesen view", openapi_url=None, lifespan=life)
    app.add_middleware(Guard, names=names, policy=content_policy(basemap))
    pages = page_files()

    def of(number: int) -> _Viewed:
        if not 0 <= number < len(viewed):
            raise HTTPException(404)
        return viewed[number]

    @app.exception_handler(TimesenError)
    async def say(_: Request, error: TimesenError) -> JSONResponse:
        status = 400 if isinstance(error, UserError) else 502
        return JSONResponse({"error": visible_text(str(error))}, status, headers=_ANEW)

    @app.get("/")
    async def page() -> Response:
        return _file(pages, "index.html")

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return _file(pages, name)

    @app.get("/api/runs")
    async def described() -> JSONResponse:
        template = None if basemap is None else basemap.template
        found = {"runs": [one.run.to_dict() for one in viewed], "basemap": template}
        return JSONResponse(found, headers=_ANEW)

    @app.get("/api/runs/{number}/tiles/{layer}/{z}/{x}/{y}")
    async def tile(
        request: Request,
        number: int,
        layer: Literal["class", "true-colour"],
        z: int,
        x: int,
        y: int,
        only: str = "",
        fade: bool = False,
    ) -> Response:
        one, place, values = of(number), _tile(z, x, y), _only(only)
        if layer == "true-colour":
            return await threads[0].tile(request, lambda: one.true_colour_tile(place))
        return await threads[0].tile(request, lambda: one.class_tile(place, values, fade))

    @app.get("/api/runs/{number}/pixel")
    async def pixel(number: int, lon: float, lat: float) -> JSONResponse:
        one, place = of(number), _place(lon, lat)
        found = await threads[0].slow(lambda: one.pixel(*place))
        return JSONResponse(None if found is None else asdict(found), headers=_ANEW)

    @app.get("/api/runs/{number}/series")
    async def series(number: int, lon: float, lat: float) -> JSONResponse:
        one, place = of(number), _place(lon, lat)

        def read() -> tuple[int, Any]:
            from pipeline.viewer.pixel_series import series_failure

            if (found := pixel_facts(one.run, *place)) is None:
                return 404, {"error": "The map has no class here."}
            try:
                return 200, one.series().read(found.cell, found.row, found.column)
            except Exception as error:  # of whatever the archive sends
                return 502, {"error": series_failure(error)}

        status, content = await threads[0].slow(read)
        return JSONResponse(content, status, headers=_ANEW)

    @app.post("/api/runs/{number}/questions")
    async def ask(number: int, question: Question) -> JSONResponse:
        one = of(number)
        answer = await threads[0].slow(lambda: one.asked().ask(question))
        return JSONResponse(answer, headers=_ANEW)

    @app.get("/api/runs/{number}/questions/{key}/{z}/{x}/{y}")
    async def answer_tile(
        request: Request, number: int, key: str, z: int, x: int, y: int, only: str = ""
    ) -> Response:
        one, place, values = of(number), _tile(z, x, y), _only(only)

        def make() -> bytes:
            asked = one.asked()
            return asked.tile(asked.answer(key), place, values)

        return await threads[0].tile(request, make)

    @app.get("/api/runs/{number}/questions/{key}/pixel")
    async def answer_pixel(number: int, key: str, lon: float, lat: float) -> JSONResponse:
        one, place = of(number), _place(lon, lat)

        def look() -> dict[str, Any]:
            asked = one.asked()
            return asked.at(asked.answer(key), *place)

        return JSONResponse(await threads[0].slow(look), headers=_ANEW)

    @app.post("/api/runs/{number}/saved/{kind}")
    async def save(
        number: int, kind: Literal["vocabulary", "examples"], question: Question
    ) -> Response:
        vocabulary = of(number).run.vocabulary
        make = saved_vocabulary if kind == "vocabulary" else saved_examples
        return Response(make(question, vocabulary), media_type="text/plain", headers=_ANEW)

    return app


def _file(pages: dict[str, tuple[bytes, str]], name: str) -> Response:
    if name not in pages:
        raise HTTPException(404)
    content, kind = pages[name]
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _tile(z: int, x: int, y: int) -> MapTile:
    tile = MapTile(z, x, y)
    if not tile.is_one:
        raise HTTPException(404)
    return tile


def _place(lon: float, lat: float) -> tuple[float, float]:
    if not (-90 <= lat <= 90 and -540 <= lon <= 540):  # NaN is no place either
        raise HTTPException(422, "lon and lat are no place")
    return ((lon + 180) % 360 - 180, lat)


def _only(text: str) -> frozenset[int]:
    parts = text.split(",")[:_MOST_ONLY] if text else []
    if not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise HTTPException(422, "only is a list of class values")
    return frozenset(map(int, parts))
