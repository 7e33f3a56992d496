"""Where a shard set may be named: a folder, or an address of an object store. Nothing else is ever opened.

An address is taken apart here and by nobody else: no shell, no pipe, no pattern, no chain of file systems.
"""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from ecamp_fast.errors import PolicyError
from ecamp_fast.printable import printable

SCHEMES = ("s3", "gs", "https")  # and http, to this machine alone
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PLAIN = re.compile(r"[A-Za-z0-9._~%+=:,@/-]+")  # no pattern, no query, no quote, no space
_IPV6 = re.compile(r"//\[[0-9A-Fa-f:.]+\](?=[:/]|$)")  # the one place of brackets and of a double colon
_HINT = (
    "name a folder, or an address s3://BUCKET/SET, gs://BUCKET/SET or https://HOST/SET; a folder with a colon: ./a:b"
)


def parse_address(named: str | os.PathLike[str]) -> str | None:
    """The address without a slash at its end; None where a folder is named. A ``Path`` is always a folder.

    Raises PolicyError for any other scheme, for plain http to another machine, and for what is no plain address.
    """
    if not isinstance(named, str):
        return None
    scheme = _SCHEME.match(named)
    if scheme is None:
        return None
    name, rest = scheme[1].lower(), named[scheme.end() :]
    if name not in (*SCHEMES, "http"):
        raise PolicyError(f"'{_redacted(named)}': no shards are read through '{name}:'", _HINT)
    try:
        parts = urlsplit(named)
    except ValueError:
        raise PolicyError(f"'{_redacted(named)}' is no plain address", _HINT) from None
    bare = _IPV6.sub("//host", rest, count=1) if name in ("http", "https") else rest
    plain = _PLAIN.fullmatch(bare) and "::" not in bare and ".." not in bare.split("/")  # a::b is a chain to fsspec
    if not rest.startswith("//") or not parts.netloc or not plain:
        raise PolicyError(f"'{_redacted(named)}' is no plain address", _HINT)
    if "@" in parts.netloc:
        raise PolicyError("an address with a password or a user in it", "leave it to the store's own credentials")
    if name == "http" and not _is_this_machine(parts.hostname or ""):
        raise PolicyError(f"'{_redacted(named)}': http without encryption", "use https")
    return f"{name}:{rest.rstrip('/')}"


def folder_of(named: str | os.PathLike[str]) -> Path:
    """A folder to write into.  Raises PolicyError where an address is named."""
    if parse_address(named) is not None:
        what = f"'{named}' is an address; shards are written into folders"
        raise PolicyError(what, "write into a folder, then copy it there with the store's own tool, MANIFEST.json last")
    return Path(named)


def may_lead(source: str, target: str) -> bool:
    """Whether a web server at the address ``source`` may send us on to the URL ``target``: never to plain http over a
    network, nor from https to plain http on this machine."""
    url = urlsplit(target)
    if url.scheme == "https":
        return True
    return url.scheme == "http" == urlsplit(source).scheme and _is_this_machine(url.hostname or "")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _redacted(text: str) -> str:
    """A refused address for a message: whatever may be a user, a password or a signature is cut away first."""
    bare = re.sub(r":/*.*@", "://", text, flags=re.DOTALL)
    return printable(re.sub(r"[?#].*", "?(left out)", bare, flags=re.DOTALL))[:120]
