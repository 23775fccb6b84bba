"""GET /healthz, /readyz and /metrics."""

from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from reachthru.controller_server.gauges import gauges
from reachthru.controller_server.rest.door import OPEN
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import DatabaseError
from reachthru.telemetry.exposition import PROMETHEUS_TEXT


@get("/healthz", opt={OPEN: True})
async def get_health() -> dict[str, str]:
    """It answers, so it lives."""
    return {"status": "ok"}


@get("/readyz", media_type=MediaType.JSON, opt={OPEN: True})
async def get_readiness(controller: NamedDependency[ControllerState]) -> Response[dict[str, str]]:
    """200 when there are a broker and a database; 503 and what is missing otherwise.

    `role`: leader or follower.
    """
    if not controller.bus.connected:
        return Response({"error": "bus: no connection to the broker"}, status_code=503)
    try:
        await controller.database.ping()
    except DatabaseError as error:
        return Response({"error": f"database: {error}"}, status_code=503)
    role = "leader" if controller.leadership.leads() else "follower"
    return Response({"status": "ready", "role": role})


@get("/metrics")
async def get_metrics(controller: NamedDependency[ControllerState]) -> Response[bytes]:
    text = controller.metrics.render(await gauges(controller))
    return Response(text, media_type=PROMETHEUS_TEXT)
