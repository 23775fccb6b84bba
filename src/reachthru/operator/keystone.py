"""A token of Keystone's, as every OpenStack command gets one: clouds.yaml and $OS_..."""

import importlib.util
from typing import Any

from reachthru.operator.api import ApiError


def token(cloud: str | None) -> str:
    """For `cloud` of clouds.yaml, else for what the environment says. Raises `ApiError`."""
    if importlib.util.find_spec("openstack") is None:
        raise ApiError("Keystone: needs Python packages: pip install 'reachthru[openstack]'")
    from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
    from openstack.config import OpenStackConfig  # noqa: PLC0415
    from openstack.exceptions import SDKException  # noqa: PLC0415

    try:
        region: Any = OpenStackConfig().get_one(cloud=cloud)
        found: str | None = region.get_session().get_token()
    except (ClientException, SDKException, OSError, ValueError) as error:
        raise ApiError(f"Keystone: {error}") from error
    if not found:
        raise ApiError("Keystone: this cloud's auth_type gives no token")
    return found
