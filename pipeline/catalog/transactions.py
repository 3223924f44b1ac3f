"""Collections and items that are written to a STAC API, by its Transaction extension.

https://github.com/stac-api-extensions/transaction and …/collection-transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from models.errors import TimesenError, first_few
from models.files.json_text import parse_json
from pipeline.catalog.api_pages import ApiRequest, ApiServer, EndlessPages
from pipeline.catalog.json_client import Documents, secrets_of
from pipeline.errors import CatalogError, OutputUnwritable
from pipeline.io.network_rules import NetworkRules, allowed_for
from pipeline.io.redaction import expanded, expanded_header, require_public_url, without_words
from pipeline.io.store import public_url
from pipeline.raster.read_errors import ReadFailure, Unreadable

_TRANSACTION = "/ogcapi-features/extensions/transaction"
_ABSENT = (404, 405, 501)  # statuses of a server that has no such endpoint
_REFUSED = (401, 403, 407)
_TIMEOUT = 120.0  # seconds: a small database takes some for twenty items
_LONGEST_REASON = 400  # characters of a server's own words that are shown
_KEYS = (
    "Give what it asks for: --header 'Authorization: Bearer ${STAC_TOKEN}', or "
    "https://${WHO}:${WORD}@… in the address, each ${NAME} set in the environment"
)


@dataclass
class TransactionApi:
    """A STAC API that takes collections and items; several threads may use it.

    Attributes:
        server: The server.
        bulk: Whether it takes many items at once (`bulk_items`), as far as is known.
    """

    server: ApiServer
    bulk: bool = True

    @property
    def location(self) -> str:
        """The address of its landing page, without secrets."""
        return public_url(self.server.location).rstrip("/")

    def collection(self, name: str) -> dict[str, Any] | None:
        """The collection of an id; None where it has none. Raises as `put_collection`."""
        try:
            return self.server.ask(ApiRequest(self._href(name)))
        except Unreadable as error:
            if error.failure.status == 404:
                return None
            raise self.failed(f"collection {name}", error.failure) from None

    def put_collection(self, document: Mapping[str, Any], *, exists: bool) -> None:
        """Create a collection, or replace the one of its id.

        Raises:
            CatalogError: The server refuses it, or has no Transaction extension.
            OutputUnwritable: The server cannot be reached, or fails.
        """
        name = str(document["id"])
        self._put(
            ApiRequest(self._href(), document),
            ApiRequest(self._href(name), document),
            f"collection {name}",
            exists=exists,
        )

    def put_items(self, items: Sequence[Mapping[str, Any]], *, exist: bool) -> None:
        """Create items of one collection, or replace those of their ids. Raises as that.

        `exist` is whether they are there already, as far as is known.
        """
        if self.bulk and items:
            collection = str(items[0]["collection"])
            body = {"items": {str(item["id"]): item for item in items}, "method": "upsert"}
            try:
                content = self.server.send(ApiRequest(self._href(collection, "bulk_items"), body))
            except Unreadable as error:
                status = error.failure.status
                if status == 413 and len(items) > 1:
                    middle = len(items) // 2
                    self.put_items(items[:middle], exist=exist)
                    self.put_items(items[middle:], exist=exist)
                    return
                if status not in _ABSENT:
                    raise self.failed(_named(items), error.failure) from None
                self.bulk = False
            else:
                self._require_none_refused(content)
                return
        for item in items:
            collection, name = str(item["collection"]), str(item["id"])
            self._put(
                ApiRequest(self._href(collection, "items"), item),
                ApiRequest(self._href(collection, "items", name), item),
                f"item {name}",
                exists=exist,
            )

    def item_ids(self, collection: str) -> Iterator[str]:
        """The ids of a collection's items. Raises as `put_collection`."""
        request = ApiRequest(f"{self._href(collection, 'items')}?limit=100")
        try:
            for page in self.server.pages(request, "features"):
                for entry in page.fresh:
                    if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                        yield entry["id"]
        except EndlessPages:
            raise self.server.no_api("the list of its items has no end") from None
        except Unreadable as error:
            raise self.failed(f"the items of {collection}", error.failure) from None

    def remove_item(self, collection: str, name: str) -> None:
        """Remove an item; nothing happens where there is none. Raises as `put_collection`."""
        try:
            href = self._href(collection, "items", name)
            self.server.send(ApiRequest(href), method="DELETE")
        except Unreadable as error:
            if error.failure.status != 404:
                raise self.failed(f"item {name}", error.failure) from None

    def _put(self, post: ApiRequest, put: ApiRequest, what: str, *, exists: bool) -> None:
        """Create or replace by one of two requests, and by the other where the first shows it.

        So does a POST that was sent again because its answer was lost.
        """
        first, second = ("PUT", "POST") if exists else ("POST", "PUT")
        elsewhere = 404 if exists else 409
        for method in (first, second):
            try:
                self.server.send(put if method == "PUT" else post, method=method)
            except Unreadable as error:
                if method == second or error.failure.status != elsewhere:
                    raise self.failed(what, error.failure) from None
            else:
                return

    def _href(self, *parts: str) -> str:
        plain = urlsplit(self.server.location)._replace(query="", fragment="").geturl()
        return "/".join(
            [plain.rstrip("/"), "collections", *(quote(part, safe="") for part in parts)]
        )

    def _require_none_refused(self, content: bytes) -> None:
        """Raise CatalogError where the answer to many items says that some were refused."""
        try:
            answer = parse_json(content)
        except ValueError:
            return
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if isinstance(errors, list) and errors:
            said = [
                f"{one.get('id')} ({one.get('msg')})" if isinstance(one, dict) else str(one)
                for one in errors
            ]
            shown = self._without_secrets(first_few(said, "; ", 3))
            raise CatalogError(
                self.location,
                f"it refused {len(errors)} items: {shown}",
                "See what it says of them",
            )

    def _without_secrets(self, text: str) -> str:
        values = self.server.headers.values()
        words = [*secrets_of(self.server.location), *values]
        return without_words(text, [*words, *(value.rpartition(" ")[2] for value in values)])

    def failed(self, what: str, failure: ReadFailure) -> TimesenError:
        """The error for a request about `what` that failed."""
        reason, status = failure.reason, failure.status
        if said := self._without_secrets(failure.said)[:_LONGEST_REASON]:
            reason = f'{reason} ("{said}")'
        if status in _REFUSED:
            return CatalogError(self.location, f"it does not let you write {what}: {reason}", _KEYS)
        if status in _ABSENT:
            return _without_transactions(self.location, f"{what}: {reason}")
        if status is not None and status < 500 and not failure.passing:
            return CatalogError(
                self.location, f"it does not take {what}: {reason}", "See what it says"
            )
        return OutputUnwritable(
            f"The STAC API {self.location} cannot be written: {what}: {reason}. What it has taken "
            "stays; start again later to send the rest."
        )


def open_transaction_api(address: str, headers: Sequence[str] = ()) -> TransactionApi:
    """A STAC API that a user names, if it takes collections and items.

    Args:
        address: Its landing page; `${NAME}` stands for a user, a password or a query's value.
        headers: "Name: value" of each header that it asks for, the value by `${NAME}`.

    Raises:
        CatalogError: The address or a header is none or shows a secret, it is no STAC API, has no
            Transaction extension, or refuses.
        OutputUnwritable: The server cannot be reached, or fails.
    """
    try:
        require_public_url(address)
    except ValueError as error:
        raise CatalogError(f"--api {public_url(address)}", str(error), "Correct it") from None
    location = expanded(address, "--api")
    if not location.lower().startswith(("https://", "http://")):
        raise CatalogError(
            f"--api {public_url(address)}",
            "this is no address of a STAC API",
            "Give that of its landing page, https://…; --to takes a folder or s3://bucket/prefix",
        )
    host = urlsplit(location).hostname or ""
    rules = NetworkRules(of_web=True, allowed=allowed_for([host]))
    sent = dict(expanded_header(header) for header in headers)
    api = TransactionApi(ApiServer(location, Documents(rules, _TIMEOUT), sent))
    try:
        landing = api.server.ask(ApiRequest(location))
    except Unreadable as error:
        if error.failure.status in (404, 410):
            raise api.server.no_api("there is no landing page") from None
        raise api.failed("its landing page", error.failure) from None
    conforms = landing.get("conformsTo")
    if not isinstance(conforms, list):
        raise api.server.no_api("its landing page has no conformsTo")
    if not any(str(one).rstrip("/").endswith(_TRANSACTION) for one in conforms):
        raise _without_transactions(api.location, "its conformsTo does not name it")
    return api


def _named(items: Sequence[Mapping[str, Any]]) -> str:
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return f"item {items[0]['id']}{more}"


def _without_transactions(location: str, said: str) -> CatalogError:
    return CatalogError(
        location,
        f"it has no Transaction extension ({said})",
        "Enable that extension on its server, or give the address of a STAC API that has it",
    )
