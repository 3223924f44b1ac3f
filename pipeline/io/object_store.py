"""What an object store (S3) refuses, and the creation of an object that is not yet there."""

import mimetypes
from typing import Any


def create_object(filesystem: Any, path: str, content: bytes) -> bool:
    """Put an object that is not yet there (`If-None-Match: *`); False where it is.

    A server that knows no such condition gets a plain put, if nothing is seen there before: then
    of two processes that put at the same moment, both may succeed.

    Args:
        filesystem: An `s3fs.S3FileSystem`.
        path: The object's URL.
        content: Its bytes, less than 100 MB.
    """
    try:
        filesystem.pipe_file(path, content, mode="create")
    except Exception as error:
        codes = {_code(error), _code(error.__cause__)}  # s3fs keeps botocore's error as the cause
        if "NotImplemented" in codes:
            if filesystem.exists(path):
                return False
            filesystem.pipe_file(path, content)
        elif isinstance(error, FileExistsError) or "ConditionalRequestConflict" in codes:
            # A put whose answer was lost is sent again, and then finds what it put itself.
            try:
                return bool(filesystem.cat_file(path) == content)
            except FileNotFoundError:
                return False
        else:
            raise
    return True


def content_type(key: str) -> dict[str, str]:
    """The argument of a put that says what a file is by its name; empty where no type is known.

    Without it a browser saves a page, instead of showing it.
    """
    known, _ = mimetypes.guess_type(key)
    return {} if known is None else {"ContentType": known}


def is_aws_error(error: Exception) -> bool:
    """Whether the error is one of botocore's (no credentials, no connection, refused)."""
    return any(kind.__module__.startswith("botocore") for kind in type(error).__mro__)


def _code(error: BaseException | None) -> str:
    """S3's code of an error, such as "PreconditionFailed"; empty where it has none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
