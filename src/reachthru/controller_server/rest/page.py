"""GET / and /web/...: the operator's page. Its files are the same for everybody, and need no token.

What the page shows it asks the API for, with the token that its reader gave it.
"""

import gzip
import hashlib
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from msgspec import Struct

from reachthru.controller_server.rest.door import OPEN

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing runs or loads that is not ours, and no string becomes markup, whatever a guest calls
# itself. Browsers ask each time whether a file has changed, so that an upgrade is seen at once.
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Asset(Struct, frozen=True):
    body: bytes
    compressed: bytes
    media_type: str
    etag: str


@get("/", opt={OPEN: True})
async def get_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, "index.html")


@get("/web/{path:path}", opt={OPEN: True})
async def get_asset(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
    return _answer(request, path.lstrip("/"))


def _answer(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    asset = assets().get(name)
    if asset is None:
        raise NotFoundException(f"the page has no file {name}")
    headers = {**HEADERS, "ETag": asset.etag, "Vary": "Accept-Encoding"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, headers=headers, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


@cache
def assets() -> dict[str, _Asset]:
    """All files of the page, by path: small, and read once."""
    folder = resources.files("reachthru.controller_server") / "web"
    found: dict[str, _Asset] = {}
    for entry in (folder, folder / "views"):
        for file in entry.iterdir():
            media_type = MEDIA_TYPES.get(PurePath(file.name).suffix)
            if media_type is not None:
                name = file.name if entry is folder else f"views/{file.name}"
                body = file.read_bytes()
                # Weak, since it is the same whether it is sent compressed or not.
                etag = f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'
                found[name] = _Asset(body, gzip.compress(body), media_type, etag)
    return found
