"""Where server groups are known from, as the settings say."""

from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.static import StaticDirectory
from reachthru.controller_server.settings import Settings


def open_directory(settings: Settings, census: Census) -> GroupDirectory:
    if settings.nova is None:
        return StaticDirectory(settings.groups_file, census)
    # Its libraries are an extra, for where there is a Nova.
    from reachthru.controller_server.nova.directory import NovaDirectory  # noqa: PLC0415

    return NovaDirectory(settings.nova)
