"""What is known of one instance: a picture from each source, the newest on top. Pure."""

from typing import Any

from msgspec import Struct

from reachthru.controller_server.groups.base import Member

GONE = "deleted"  # Nova's state of an instance that is no more


class _Picture(Struct):
    stamp: str
    status: dict[str, Any]


class Told(Struct):
    """What peers were told last. `stamp` moves on with later news of the same."""

    word: str = ""
    request_id: str | None = None
    stamp: str = ""


class Instance:
    """`status` is never changed in place: members that were handed out keep theirs."""

    __slots__ = ("_member", "_pictures", "heard_at", "name", "status", "told", "told_state", "uuid")

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.name: str | None = None
        self.status: dict[str, Any] = {}
        self.heard_at = float("-inf")  # the last news, monotonic
        self.told = Told()
        self.told_state: str | None = None  # None: it was never seen as a member
        self._pictures: dict[str, _Picture] = {}  # by source
        self._member: Member | None = None

    @property
    def state(self) -> str:
        return str(self.status.get("state", ""))

    @property
    def visible(self) -> bool:
        return bool(self.status) and self.state != GONE

    def heard(self, form: str, stamp: str, status: dict[str, Any]) -> None:
        """A picture from a notification; an older one than the same form's known one is nothing.

        The forms have a picture each since they don't know the same keys.
        """
        known = self._pictures.get(form)
        if known is None or known.stamp < stamp:
            self._pictures[form] = _Picture(stamp, status)
            self._compose()

    def seen(self, updated: str, status: dict[str, Any]) -> str:
        """A picture from the API: on top of all that was heard, even if a clock says older.

        Returns its stamp: what is heard with an older one from here on stays below it.
        """
        self._pictures.pop("api", None)
        stamp = max((updated, *(picture.stamp for picture in self._pictures.values())))
        self._pictures["api"] = _Picture(stamp, status)
        self._compose()
        return stamp

    def call(self, name: str | None) -> None:
        if name and name != self.name:
            self.name = name
            self._member = None

    def end(self) -> None:
        self.status = {**self.status, "state": GONE}
        self._member = None

    def member(self) -> Member:
        if self._member is None:
            self._member = Member(
                uuid=self.uuid,
                name=self.name or self.uuid,
                host=self.status.get("host") or None,
                state=self.state,
                project_id=str(self.status.get("tenant_id") or ""),
                status=self.status,
            )
        return self._member

    def _compose(self) -> None:
        self.status = {}
        for _, picture in sorted(self._pictures.items(), key=_order):
            self.status.update(picture.status)
        self._member = None


def _order(source_and_picture: tuple[str, _Picture]) -> tuple[str, bool, str]:
    """The newest last; of equally old ones the API's, then any order that is always the same."""
    source, picture = source_and_picture
    return picture.stamp, source == "api", source
