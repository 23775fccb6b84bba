"""Nova's notifications, versioned and legacy, read into what the cache works with. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from reachthru.controller_server.nova.words import GROUP_WORDS, INSTANCE_WORDS

Form = Literal["versioned", "legacy"]


class GarbledError(ValueError):
    """A notification of a type that matters, which can't be read; `str(error)` says why."""


class InstanceNews(Struct, frozen=True, kw_only=True):
    """How an instance was when Nova sent this. `status` as in `groups.base.Member`.

    `stamp` is the sender's wall clock (ISO 8601, UTC, comparable as text): it orders news of one
    instance. `request_id` names the API request behind it, the same in both forms.
    """

    uuid: str
    word: str  # Nova's legacy event type
    form: Form
    stamp: str
    request_id: str | None
    priority: str
    status: dict[str, Any]
    name: str | None = None  # the hypervisor's: instance-00000001; in instance.create only


class GroupNews(Struct, frozen=True, kw_only=True):
    """Nova removes no member from a group: `members` are additions.

    The versioned form lists every instance that ever was a member, deleted ones too.
    """

    group_id: str
    what: Literal["create", "add_member", "delete"]
    name: str | None
    members: Sequence[str]


def read(
    context: Mapping[str, Any],
    event_type: object,
    payload: object,
    stamp: object,
    priority: str,
) -> InstanceNews | GroupNews | None:
    """None: nothing that matters here. Raises `GarbledError`."""
    if event_type in INSTANCE_WORDS:
        word = INSTANCE_WORDS[str(event_type)]
        return _instance(word, _data(payload), _stamp(stamp), context, priority)
    if event_type in GROUP_WORDS:
        return _group(GROUP_WORDS[str(event_type)], _data(payload))
    return None


def iso_utc(text: object) -> str:
    """Any of Nova's forms of a time, as ISO 8601 UTC with microseconds. Raises `ValueError`."""
    moment = datetime.fromisoformat(str(text))
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _stamp(stamp: object) -> str:
    try:
        return iso_utc(stamp)
    except ValueError as error:
        raise GarbledError(f"timestamp {stamp!r:.60} is not a time") from error


def _data(payload: object) -> tuple[Form, Mapping[str, Any]]:
    if not isinstance(payload, Mapping):
        raise GarbledError(f"its payload is {type(payload).__name__}, not an object")
    if "nova_object.data" not in payload:
        return "legacy", payload
    data = payload["nova_object.data"]
    if not isinstance(data, Mapping):
        raise GarbledError("nova_object.data is not an object")
    return "versioned", data


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise GarbledError(f"{key} is {value!r:.60}, not a text")
    return value


def _instance(
    word: str,
    payload: tuple[Form, Mapping[str, Any]],
    stamp: str,
    context: Mapping[str, Any],
    priority: str,
) -> InstanceNews:
    form, data = payload
    _text(data, "state")
    uuid = _text(data, "uuid" if form == "versioned" else "instance_id")
    for key in ("host", "tenant_id"):
        if data.get(key) is not None:
            _text(data, key)
    request_id = context.get("request_id")
    name = data.get("instance_name")
    return InstanceNews(
        uuid=uuid,
        word=word,
        form=form,
        stamp=stamp,
        request_id=request_id if isinstance(request_id, str) else None,
        priority=priority,
        status=versioned_status(data) if form == "versioned" else legacy_status(data),
        name=name if isinstance(name, str) and name else None,
    )


def _group(what: Any, payload: tuple[Form, Mapping[str, Any]]) -> GroupNews:
    form, data = payload
    members = data.get("members" if form == "versioned" else "instance_uuids") or []
    if not isinstance(members, list) or not all(isinstance(uuid, str) for uuid in members):
        raise GarbledError("its members are not a list of ids")
    name = data.get("name")
    return GroupNews(
        group_id=_text(data, "uuid" if form == "versioned" else "server_group_id"),
        what=what,
        name=name if isinstance(name, str) else None,
        members=members,
    )


# fmt: off
# The wire contract's status keys, section 5.
_LEGACY_KEYS = (
    "instance_id", "display_name", "hostname", "state", "state_description", "instance_type",
    "instance_type_id", "instance_flavor_id", "memory_mb", "vcpus", "root_gb", "ephemeral_gb",
    "disk_gb", "launched_at", "created_at", "terminated_at", "deleted_at",
    "availability_zone", "host", "node", "tenant_id", "user_id", "metadata", "image_meta",
    "image_ref_url", "architecture", "os_type", "kernel_id", "ramdisk_id", "access_ip_v4",
    "access_ip_v6", "reservation_id", "cell_name", "progress",
)
_SAME_IN_VERSIONED = (
    "display_name", "state", "created_at", "availability_zone", "host", "node", "tenant_id",
    "user_id", "metadata", "architecture", "os_type", "reservation_id",
)
# Where legacy notifications have "" for nothing.
_EMPTY_IN_VERSIONED = (
    "launched_at", "terminated_at", "deleted_at", "kernel_id", "ramdisk_id", "progress",
)
# fmt: on


def legacy_status(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in _LEGACY_KEYS if key in data}


def versioned_status(data: Mapping[str, Any]) -> dict[str, Any]:
    """The legacy keys that a versioned payload knows."""
    status = {key: data[key] for key in _SAME_IN_VERSIONED if key in data}
    status.update({key: data[key] or "" for key in _EMPTY_IN_VERSIONED if key in data})
    status["instance_id"] = data["uuid"]
    if "host_name" in data:
        status["hostname"] = data["host_name"]
    if "task_state" in data:
        status["state_description"] = data["task_state"] or ""
    flavor = data.get("flavor")
    if isinstance(flavor, Mapping) and isinstance(flavor.get("nova_object.data"), Mapping):
        flavor = flavor["nova_object.data"]
        status.update(
            flavor_status(
                name=flavor.get("name"),
                memory_mb=flavor.get("memory_mb"),
                vcpus=flavor.get("vcpus"),
                root_gb=flavor.get("root_gb"),
                ephemeral_gb=flavor.get("ephemeral_gb"),
            )
        )
        if "flavorid" in flavor:
            status["instance_flavor_id"] = flavor["flavorid"]
    return status


def flavor_status(
    *, name: object, memory_mb: object, vcpus: object, root_gb: object, ephemeral_gb: object
) -> dict[str, Any]:
    status = {
        "instance_type": name,
        "memory_mb": memory_mb,
        "vcpus": vcpus,
        "root_gb": root_gb,
        "ephemeral_gb": ephemeral_gb,
    }
    if isinstance(root_gb, int) and isinstance(ephemeral_gb, int):
        status["disk_gb"] = root_gb + ephemeral_gb
    return {key: value for key, value in status.items() if value is not None}
