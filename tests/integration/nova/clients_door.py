"""Nova as OpenStackClient wants it: with Keystone's tokens, and images by name.

Images are those of Nova's Glance fixture.
"""

import json
import ssl
import urllib.error
import urllib.request
import uuid
from pathlib import Path

IMAGES = "/image"
IMAGE_NAME = "debian-12-reachthru"


class ClientsDoor:
    """In front of `app`, whose tokens are `user:project`; others are Keystone's.

    `keystone_file`, written before the first of them, says where it is: {"url": ..., "ca": ...}.
    (keystonemiddleware can't ask it: Nova's placement fixture has wsgi_intercept in its way.)
    """

    def __init__(self, app, glance, keystone_file):
        self._app, self._glance = app, glance
        self._keystone_file = Path(keystone_file)
        self._known = {}
        image = glance.show(None, glance.auto_disk_config_enabled_image["id"])
        glance.create(None, {**image, "id": str(uuid.uuid4()), "name": IMAGE_NAME})

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith(IMAGES):
            return self._image(environ, start_response)
        token = environ.get("HTTP_X_AUTH_TOKEN", ":")
        if ":" not in token:
            try:
                environ["HTTP_X_AUTH_TOKEN"] = self._translated(token)
            except urllib.error.HTTPError:
                start_response("401 Unauthorized", [("Content-Type", "text/plain")])
                return [b"Keystone does not know this token\n"]
        return self._app(environ, start_response)

    def _translated(self, token):
        """In the words of `app`. Raises `HTTPError`."""
        if token not in self._known:
            keystone = json.loads(self._keystone_file.read_text())
            headers = {"X-Auth-Token": token, "X-Subject-Token": token}
            request = urllib.request.Request(f"{keystone['url']}/auth/tokens", headers=headers)
            tls = ssl.create_default_context(cafile=keystone["ca"])
            with urllib.request.urlopen(request, context=tls) as answer:
                found = json.load(answer)["token"]
            is_admin = "admin" in [role["name"] for role in found["roles"]]
            user = "admin" if is_admin else found["user"]["id"]
            self._known[token] = f"{user}:{found['project']['id']}"
        return self._known[token]

    def _image(self, environ, start_response):
        """`GET /image`: the versions. `GET /image/v2/images/ID`; a name is an ID, too."""
        wanted = environ["PATH_INFO"].rpartition("/images/")[2]
        found = [
            {key: image[key] for key in ("id", "name", "status", "visibility")}
            for image in self._glance.detail(None)
            if wanted in (image["id"], image["name"])
        ]
        if environ["PATH_INFO"] == IMAGES:
            link = {"rel": "self", "href": f"http://{environ['HTTP_HOST']}{IMAGES}/v2/"}
            found = [{"versions": [{"id": "v2.9", "status": "CURRENT", "links": [link]}]}]
        status = "200 OK" if found else "404 Not Found"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(found[0] if found else {}).encode()]
