"""What Nova is asked, and how its answers are read. Each call is one HTTP request.

Whatever is no answer of Nova's, or is one that may be another one later, raises `NotNowError`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct, field
from oslo_config import cfg

from reachthru.controller_server.sinks.base import NotNowError
from reachthru.controller_server.sinks.http import Answer, ServiceClient
from reachthru.controller_server.sinks.nova.policy import Action, ComputeService, Server

# Of Nova 17 (Queens), the first with all that is asked here: forced_down by the service's uuid
# (2.53) and a limit for instance actions (2.58).
_VERSION = {"OpenStack-API-Version": "compute 2.60"}
_RESET = "resetState"
_HISTORY = 20  # instance actions to look at: resets of a state before the newest touch
# A conflict, and a server that is gone: another look says what is so now.
_LOOK_AGAIN = frozenset({401, 403, 404, 409})
_BODIES: dict[Action, object] = {
    Action.RESET_STATE: {"os-resetState": {"state": "error"}},
    Action.REBOOT: {"reboot": {"type": "HARD"}},  # who does not answer hears no ACPI button
    Action.STOP: {"os-stop": None},
}
_RESET_TO_ACTIVE = {"os-resetState": {"state": "active"}}


class _ServerBody(Struct):
    vm_state: str = field(name="OS-EXT-STS:vm_state")
    task_state: str | None = field(name="OS-EXT-STS:task_state")
    host: str | None = field(name="OS-EXT-SRV-ATTR:host")
    locked: bool


class _InstanceAction(Struct):
    action: str
    request_id: str | None


class _Service(Struct):
    id: str
    host: str
    forced_down: bool
    updated_at: str | None


class _ServerAnswer(Struct):
    server: _ServerBody


class _ActionsAnswer(Struct):
    actions: list[_InstanceAction] = field(name="instanceActions")


class _ServicesAnswer(Struct):
    services: list[_Service]


class _ServiceAnswer(Struct):
    service: _Service


class NovaCalls:
    """Use as `async with`. `conf` has a [nova] section that keystone_session has checked."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._client = ServiceClient(conf, "nova", "compute")
        self.timeout_s = self._client.timeout_s

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(*error)

    async def server(self, uuid: str) -> Server | None:
        """None: there is none."""
        path = f"/servers/{quote(uuid, safe='')}"
        # The history first: what begins after that shows in the state, or Nova says 409.
        answer = await self._get(f"{path}/os-instance-actions?limit={_HISTORY}")
        if _is_missing(answer):
            return None
        actions = _read(answer, _ActionsAnswer).actions
        answer = await self._get(path)
        if _is_missing(answer):
            return None
        found = _read(answer, _ServerAnswer).server
        touches = [one for one in actions if one.action != _RESET]
        newest_is_reset = bool(actions) and actions[0].action == _RESET
        return Server(
            vm_state=found.vm_state,
            task_state=found.task_state,
            host=found.host,
            is_locked=found.locked,
            newest_reset=_request_id(actions) if newest_is_reset else "",
            newest_touch=_request_id(touches),
        )

    async def compute_service(self, host: str) -> ComputeService | None:
        answer = await self._get(f"/os-services?binary=nova-compute&host={quote(host, safe='')}")
        services = _read(answer, _ServicesAnswer).services
        found = next((service for service in services if service.host == host), None)
        if found is None:
            return None
        silent_s = _since(found.updated_at, answer)
        return ComputeService(id=found.id, forced_down=found.forced_down, silent_s=silent_s)

    async def act(self, uuid: str, action: Action, *, undo: bool = False) -> str:
        """Returns the id of the request, which Nova's logs have, too.

        Raises `RefusedError`.
        """
        body = _RESET_TO_ACTIVE if undo else _BODIES[action]
        answer = await self._send("POST", f"/servers/{quote(uuid, safe='')}/action", body)
        answer.insist_on_yes(_LOOK_AGAIN)
        if answer.status != 202:
            raise NotNowError(f"{answer.said}: Nova would say 202")
        return answer.headers.get("X-OpenStack-Request-ID", "")

    async def force_down(self, service_id: str, *, down: bool) -> str:
        """Returns the id of the request. Raises `RefusedError`."""
        path = f"/os-services/{quote(service_id, safe='')}"
        answer = await self._send("PUT", path, {"forced_down": down})
        # 400: a host that was evacuated is not up before its nova-compute was restarted.
        answer.insist_on_yes(_LOOK_AGAIN if down else _LOOK_AGAIN | {400})
        if _read(answer, _ServiceAnswer).service.forced_down is not down:
            raise NotNowError(f"{answer.said}: it says yes, and did nothing")
        return answer.headers.get("X-OpenStack-Request-ID", "")

    async def _get(self, path: str) -> Answer:
        answer = await self._send("GET", path)
        if not _is_missing(answer):
            answer.insist_on_yes(frozenset(range(400, 500)))
        return answer

    async def _send(self, method: str, path: str, body: object = None) -> Answer:
        try:
            return await self._client.send(method, path, body, _VERSION)
        except TimeoutError as error:
            raise NotNowError(f"Nova: no answer within {self.timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise NotNowError(f"Nova: {error}") from error


def _is_missing(answer: Answer) -> bool:
    """Nova itself says that there is no such thing; any web server says 404."""
    body = answer.json()
    return answer.status == 404 and isinstance(body, dict) and "itemNotFound" in body


def _read(answer: Answer, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotNowError(f"{answer.said}: that is no answer of Nova's: {error}") from error


def _request_id(actions: list[_InstanceAction]) -> str:
    return (actions[0].request_id or "") if actions else ""


def _since(moment: str | None, answer: Answer) -> float:
    """Seconds from `moment`, of Nova's clock, to the answer, by its clock where it says that."""
    now = _date(answer.headers) or datetime.now(UTC)
    try:
        then = datetime.fromisoformat(moment or "")
    except ValueError as error:
        raise NotNowError(f"{answer.said}: updated_at = {moment} is no time") from error
    return max(0.0, (now - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds())


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        found = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)
