"""Masakari's own API and engine as one process, over HTTP: SQLite, no Keystone.

    .venv-masakari-tacker/bin/python masakari_server.py FOLDER HOST...

The hosts are in one failover segment. When all is up, {"url": ...} is printed. GET /acted says what
the engine set out to repair. Only its driver is ours: the real one would ask Nova. Ends when stdin
does.
"""

import json
import os
import sys
import threading
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import masakari.conf  # noqa: E402
import oslo_messaging  # noqa: E402
from masakari import config, context, objects, rpc  # noqa: E402
from masakari.db import migration  # noqa: E402
from masakari.engine import driver, manager  # noqa: E402
from masakari.objects.base import MasakariObjectSerializer  # noqa: E402
from paste import deploy  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

CONF = masakari.conf.CONF


class Driver:
    """Keeps what Masakari's would do."""

    def __init__(self):
        self.acted = []

    def execute_instance_failure(self, _context, instance_uuid, _notification, **_more):
        self.acted.append({"instance": instance_uuid})

    def execute_host_failure(self, _context, host_name, *_more, **_even_more):
        self.acted.append({"host": host_name})

    def upgrade_backend(self, *_backend):
        """It has no tables."""


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args):
        """stderr is for what goes wrong."""


def prepare(folder, hosts):
    settings = folder / "masakari.conf"
    settings.write_text(
        "[DEFAULT]\nauth_strategy = noauth2\ntransport_url = fake://\nnotification_delay_max = 0\n"
        f"[database]\nconnection = sqlite:///{folder}/masakari.sqlite\n"
    )
    config.parse_args(["masakari"], default_config_files=[str(settings)])
    objects.register_all()
    migration.db_sync()
    admin = context.get_admin_context()
    segment = objects.FailoverSegment(
        context=admin, name="segment", service_type="COMPUTE", recovery_method="auto"
    )
    segment.create()
    for name in hosts:
        objects.Host(
            context=admin,
            name=name,
            failover_segment=segment,
            type="COMPUTE",
            control_attributes="none",
            on_maintenance=False,
            reserved=False,
        ).create()


def engine():
    """Masakari's, listening where its API sends notifications."""
    return oslo_messaging.get_rpc_server(
        rpc.TRANSPORT,
        oslo_messaging.Target(topic=CONF.masakari_topic, server="engine"),
        [manager.MasakariManager()],
        executor="threading",
        serializer=rpc.RequestContextSerializer(MasakariObjectSerializer()),
    )


def main(folder, *hosts):
    ours = Driver()
    driver.load_masakari_driver = lambda *_name: ours
    prepare(Path(folder), hosts)
    engine().start()
    api = deploy.loadapp(f"config:{sys.prefix}/etc/masakari/api-paste.ini", name="masakari_api")

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/acted":
            return api(environ, start_response)
        start_response("200 OK", [])
        return [json.dumps(ours.acted).encode()]

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads would go on for a while


main(*sys.argv[1:])
