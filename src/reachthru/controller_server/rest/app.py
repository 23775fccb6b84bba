"""The application, and how errors look: `{"error": "one line"}`, never a stack trace."""

import logging
from collections.abc import Mapping
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException

from reachthru.controller_server.overview.overview import Overview
from reachthru.controller_server.overview.paging import UnknownSortError
from reachthru.controller_server.rest import (
    events,
    faults,
    groups,
    health,
    inventory,
    maintenance,
    page,
    summary,
)
from reachthru.controller_server.rest.door import Guarded
from reachthru.controller_server.rest.lists import asked
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import DatabaseError

_Request = Request[Any, Any, Any]
_log = logging.getLogger(__name__)


def rest_app(controller: ControllerState, door: Guarded | None = None) -> Litestar:
    """Serves what `controller` knows to whom `door` lets in; to everybody without one."""
    overview = Overview(controller)
    return Litestar(
        route_handlers=[
            page.get_page,
            page.get_asset,
            summary.get_summary,
            faults.get_faults,
            faults.get_fault,
            inventory.get_instances,
            inventory.get_instance,
            inventory.get_hosts,
            inventory.forget_host,
            maintenance.get_maintenance,
            maintenance.start_maintenance,
            maintenance.end_maintenance,
            groups.get_groups,
            groups.get_group,
            events.get_events,
            health.get_health,
            health.get_readiness,
            health.get_metrics,
        ],
        guards=[door.guard] if door is not None else [],
        dependencies={
            "controller": Provide(lambda: controller, sync_to_thread=False),
            "overview": Provide(lambda: overview, sync_to_thread=False),
            "asked": Provide(asked, sync_to_thread=False),
        },
        # Half of gzip's default effort: a fifth more bytes, and the loop is back in a third of the
        # time. A stream is not compressed: each listener's would hold 256 KiB. The page's files are
        # compressed once.
        compression_config=CompressionConfig(
            backend="gzip", gzip_compress_level=4, exclude=["^/v1/events$", "^/$", "^/web/"]
        ),
        exception_handlers={
            HTTPException: _http_error,
            DatabaseError: _no_database,
            UnknownSortError: _bad_question,
            Exception: _our_fault,
        },
        openapi_config=None,
        logging_config=None,
    )


def _error(
    text: str, status_code: int, headers: Mapping[str, str] | None = None
) -> Response[dict[str, str]]:
    return Response({"error": text}, status_code=status_code, headers=headers)


def _http_error(_request: _Request, error: HTTPException) -> Response[dict[str, str]]:
    details = error.extra if isinstance(error.extra, list) else []
    causes = [f"{item.get('key', '')}: {item.get('message', '')}" for item in details]
    return _error("; ".join(causes) or error.detail, error.status_code, error.headers)


def _no_database(_request: _Request, error: DatabaseError) -> Response[dict[str, str]]:
    return _error(str(error), 503)


def _bad_question(_request: _Request, error: UnknownSortError) -> Response[dict[str, str]]:
    return _error(str(error), 400)


def _our_fault(request: _Request, error: Exception) -> Response[dict[str, str]]:
    _log.error("%s %s: %r", request.method, request.url.path, error, exc_info=error)
    return _error("the controller failed to answer this; its log says why", 500)
