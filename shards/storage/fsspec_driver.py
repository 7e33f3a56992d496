"""The fsspec file system of an address, and what the exceptions of its driver mean.

Each driver has its own exceptions and its own of the library below it, so whatever it raises counts as the network's
fault unless it says that the file is not there or not ours.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint
from ecamp_fast.shards.storage.address import may_lead

_DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "https": "aiohttp", "http": "aiohttp"}


class RedirectedError(Exception):
    """A web server sends us where no address may lead. What it names may be signed, so it is not repeated."""


def open_filesystem(address: str) -> Any:
    """The fsspec file system of an address that ``parse_address`` allows. Credentials are those of its own library.

    Raises EnvironmentFault where its driver is not installed.
    """
    scheme = address.partition(":")[0]
    try:
        import fsspec

        options = _web_options(address) if scheme in ("http", "https") else {}
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError:
        package = _DRIVERS[scheme]
        hint = f"pip install '{package}', or all of them: {install_hint('stores')}"
        raise EnvironmentFault(f"reading {scheme}:// needs {package}, which is not installed", hint) from None


def lasting_fault(error: Exception, name: str) -> OSError | None:
    """The fault that asking again would not change: the file is missing or forbidden. None for any other error."""
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if isinstance(cause, PermissionError) or status in (401, 403):
        return PermissionError(errno.EACCES, "permission denied", name)
    if isinstance(cause, FileNotFoundError) or status in (404, 410):
        return missing(name)
    return None


def redirected(error: Exception) -> bool:
    """Whether a web server wanted to send us where no address may lead."""
    return isinstance(_cause(error), RedirectedError)


def described(error: Exception) -> str:
    """Type and status of an error, or the system's words: texts of drivers quote URLs, which may be signed."""
    cause = error.__cause__ or error
    status, number = getattr(cause, "status", None), getattr(cause, "errno", None)
    if isinstance(status, int):
        return f"{type(cause).__name__}: status {status}"
    if isinstance(number, int) and number > 0:
        return f"{type(cause).__name__}: {os.strerror(number)}"
    return type(cause).__name__


def missing(name: str) -> FileNotFoundError:
    """The fault of a file that does not exist."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _web_options(address: str) -> dict[str, Any]:
    async def guarded(request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        """Called for each step of a redirection, before it connects."""
        if not may_lead(address, str(request.url)):
            raise RedirectedError
        return await send(request)

    # Not compressed on the way: offsets are those of the file as it is.
    return {"headers": {"Accept-Encoding": "identity"}, "client_kwargs": {"middlewares": (guarded,)}}


def _cause(error: Exception) -> BaseException:
    """fsspec's http says "not found" for every failed question about a file, and names the true cause behind it."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
