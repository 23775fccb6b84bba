"""Keystone's own code, as a process."""

import contextlib
import json
import subprocess
from pathlib import Path

import httpx
from keystoneauth1 import loading, session
from openstack import connect

from reachthru.certificates import client_tls

KEYSTONE_PYTHON = (
    Path(__file__).parents[3] / ".venv-nova/bin/python"
)  # tools/setup-services makes it
KEYSTONE_SERVER = Path(__file__).with_name("server.py")


class Keystone:
    """Keystone's own code, over HTTPS. Users have the password of `admin`."""

    password = "the password of every user here"

    def __init__(self, folder, pki):
        self.ca = pki.ca
        self._log = (folder / "keystone.log").open("wb")
        self._process = subprocess.Popen(
            [KEYSTONE_PYTHON, KEYSTONE_SERVER, folder, self.password, *pki.server("127.0.0.1")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        line = self._process.stdout.readline()
        assert line, (folder / "keystone.log").read_text()
        self.url = json.loads(line)["url"]
        self._cloud = connect(
            auth=self.auth("admin", project_name="admin"), cacert=str(self.ca), region_name="one"
        )

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def order(self, **what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == what

    @contextlib.contextmanager
    def away(self):
        self.order(listening=False)
        try:
            yield
        finally:
            self.order(listening=True)

    def auth(self, user, **scope):
        if "project_name" in scope:
            scope["project_domain_id"] = "default"
        return {
            "auth_url": self.url,
            "username": user,
            "password": self.password,
            "user_domain_id": "default",
            **scope,
        }

    def environment(self, user, **scope):
        """What OpenStack's commands read: OS_... variables."""
        auth = {f"OS_{key.upper()}": value for key, value in self.auth(user, **scope).items()}
        return {
            **auth,
            "OS_CACERT": self.ca,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": "one",
        }

    def token(self, user, **scope):
        """`scope`: project_name="...", or system_scope="all"."""
        auth = loading.get_plugin_loader("v3password").load_from_options(**self.auth(user, **scope))
        return session.Session(auth=auth, verify=str(self.ca)).get_token()

    def revoke(self, token):
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        tls = client_tls(self.ca, None, None)
        httpx.delete(f"{self.url}/auth/tokens", headers=headers, verify=tls).raise_for_status()

    def endpoint(self, service_type, url):
        """Is in the catalogue from now on."""
        identity = self._cloud.identity
        service = identity.create_service(type=service_type, name=service_type)
        identity.create_endpoint(
            service_id=service.id, interface="public", region_id="one", url=url
        )

    def forget(self, *service_types):
        """They are in the catalogue no more."""
        for service in self._cloud.identity.services():
            if service.type in service_types:
                self._cloud.identity.delete_service(service)

    def project(self, name):
        """Its id."""
        identity = self._cloud.identity
        found = identity.find_project(name)
        return (found or identity.create_project(name=name, domain_id="default")).id

    def user(self, name, role, project=None):
        """With that role in the project, or in the system."""
        identity = self._cloud.identity
        user = identity.create_user(
            name=name, password=self.password, domain_id="default", is_enabled=True
        )
        role = identity.find_role(role)
        if project is None:
            identity.assign_system_role_to_user(user, role, "all")
        else:
            identity.assign_project_role_to_user(self.project(project), user, role)
