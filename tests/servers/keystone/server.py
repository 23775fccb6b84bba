"""Keystone's own code as one process: its API over HTTPS, SQLite, fernet tokens.

    .venv-nova/bin/python server.py FOLDER PASSWORD CERTIFICATE KEY

The user `admin` has PASSWORD and the role admin in the project admin and in the system. When all is
up, {"url": ...} is printed. Lines of JSON on stdin change it, each answered with itself:
{"expiration": seconds} of the tokens that it gives from now on, {"listening": true|false}.
Ends when stdin does.
"""

import json
import os
import sys
import threading
from pathlib import Path

import keystone.conf
import keystone.server
from keystone.cmd.bootstrap import Bootstrapper
from keystone.common import fernet_utils, sql
from keystone.server import backends
from keystone.server.flask import core
from oslo_db.sqlalchemy import enginefacade
from werkzeug.serving import WSGIRequestHandler, make_server

CONF = keystone.conf.CONF


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args):
        """stderr is for what goes wrong."""


class Server:
    def __init__(self, app, port, certificate):
        self._app, self._certificate = app, certificate
        self.port = port
        self._server = None

    def listen(self):
        self._server = make_server(
            "127.0.0.1",
            self.port,
            self._app,
            threaded=True,
            request_handler=QuietHandler,
            ssl_context=self._certificate,
        )
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def prepare(folder, password):
    settings = folder / "keystone.conf"
    settings.write_text(
        f"[database]\nconnection = sqlite:///{folder}/keystone.sqlite\n"
        f"[fernet_tokens]\nkey_repository = {folder}/fernet\n"
        f"[fernet_receipts]\nkey_repository = {folder}/fernet\n"
        f"[credential]\nkey_repository = {folder}/credential\n"
        "[identity]\npassword_hash_rounds = 4\n"
        "[cache]\nenabled = false\n"
    )

    def make_keys():
        for repository in ("fernet", "credential"):
            keys = fernet_utils.FernetUtils(str(folder / repository), 3, repository)
            keys.create_key_directory()
            keys.initialize_key_repository()

    app = core.initialize_application("public", make_keys, [str(settings)])
    engine = enginefacade.writer.get_engine()
    sql.ModelBase.metadata.create_all(engine)
    backends.load_backends = dict  # they are loaded; the bootstrapper would do it again
    bootstrap = Bootstrapper()
    bootstrap.admin_username = bootstrap.project_name = bootstrap.admin_role_name = "admin"
    bootstrap.admin_password = password
    return app, bootstrap


def main():
    folder, password, certificate, key = sys.argv[1:]
    del sys.argv[1:]  # Keystone would read them
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # and it logs to stdout
    app, bootstrap = prepare(Path(folder), password)
    server = Server(app, 0, (certificate, key))
    server.listen()
    url = f"https://127.0.0.1:{server.port}/v3"
    bootstrap.region_id, bootstrap.service_name = "one", "keystone"
    bootstrap.public_url = bootstrap.internal_url = bootstrap.admin_url = url
    bootstrap.bootstrap()
    print(json.dumps({"url": url}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "expiration" in order:
            CONF.set_override("expiration", order["expiration"], group="token")
        if "listening" in order:
            (server.listen if order["listening"] else server.close)()
        print(line, end="", file=answers, flush=True)
    os._exit(0)  # its threads are not waited for: nothing is kept


if __name__ == "__main__":
    main()
