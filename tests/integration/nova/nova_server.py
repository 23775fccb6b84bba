"""Nova's own code as one process: API over HTTP, conductor, scheduler, two computes, placement.

    .venv-nova/bin/python nova_server.py RABBIT_URL KEYSTONE_FILE

Its functional test fixtures are held open until stdin ends. The hypervisor, Neutron, Glance and
Cinder are Nova's fakes; API, database, scheduling, state machine and notifications are real, and
the notifications, versioned and legacy, go to the RabbitMQ at RABBIT_URL. When all is up, one
JSON line is printed: {"url": the compute endpoint, "image": the id of an image}. What the API
can't do is asked for in JSON lines on stdin: {"stop": a compute host} is answered with
{"done": "stop"} when its nova-compute runs no more, {"restart": ...} when it runs again.

A token is `user:project`, and the user `admin` is one; or it is Keystone's, see clients_door.py.
"""

import os

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"  # native threads; before nova's import

import json
import sys
import threading

from nova.tests.functional.integrated_helpers import ProviderUsageBaseTestCase  # patches threads

# isort: split
import fixtures
import oslo_messaging
from clients_door import ClientsDoor
from futurist import _thread
from oslo_config import cfg
from werkzeug.serving import WSGIRequestHandler, make_server

from nova import rpc
from nova.tests import fixtures as nova_fixtures

HOSTS = ("compute-0", "compute-1")
REPORT_S = 1  # of nova-compute, that it lives; Nova's usual interval is 10


class Tokens:
    """Keystone's part: turns a token into the headers that the stubbed context reads."""

    def __init__(self, app):
        self._app = app

    def __call__(self, environ, start_response):
        user, _, project = environ.get("HTTP_X_AUTH_TOKEN", "nobody:none").partition(":")
        environ["HTTP_X_AUTH_USER"] = user
        environ["HTTP_X_AUTH_PROJECT_ID"] = project
        environ["HTTP_X_ROLES"] = "reader,member,admin" if user == "admin" else "reader,member"
        return self._app(environ, start_response)


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args):
        """stderr is for what goes wrong."""


def real_notifications(case):
    """Both forms, in full, on the bus. In the place of Nova's NotificationFixture, since what
    starts after that keeps the notifiers that it finds.
    """

    def set_up():
        case.flags(notify_on_state_change="vm_and_task_state", group="notifications")
        case.flags(notification_format="both", group="notifications")
        transport = oslo_messaging.get_notification_transport(cfg.CONF, url=sys.argv[1])
        serializer = rpc.RequestContextSerializer(rpc.JsonPayloadSerializer())
        for name, topic in (
            ("LEGACY_NOTIFIER", "notifications"),
            ("NOTIFIER", "versioned_notifications"),
        ):
            notifier = oslo_messaging.Notifier(
                transport, driver="messagingv2", topics=[topic], serializer=serializer
            )
            case.stub_out(f"nova.rpc.{name}", notifier)

    return fixtures.FunctionFixture(set_up)


def let_threads_rest():
    """Nova's tests make its pools' hundred threads look up each 10 ms: most of a core."""
    _thread.ThreadWorker.MAX_IDLE_FOR = 1  # seconds; as where it is no test


class HeldOpen(ProviderUsageBaseTestCase):
    compute_driver = "fake.FakeLiveMigrateDriver"

    def setUp(self):
        self.flags(api_paste_config=f"{sys.prefix}/etc/nova/api-paste.ini", group="wsgi")
        quotas = ("instances", "cores", "ram", "server_groups", "server_group_members")
        self.flags(group="quota", **dict.fromkeys(quotas, -1))
        self.flags(report_interval=REPORT_S)
        self.stub_out("nova.servicegroup.api.INITIAL_REPORTING_DELAY", REPORT_S)
        nova_fixtures.NotificationFixture = real_notifications
        super().setUp()
        let_threads_rest()
        for host in HOSTS:
            self._start_compute(host)


def main():
    oslo_messaging.set_transport_defaults("nova")
    case = HeldOpen("setUp")  # unittest wants a method to run; the life is here
    case.setUp()
    server = make_server(
        "127.0.0.1",
        0,
        ClientsDoor(Tokens(case.api_fixture.app()), case.glance, sys.argv[2]),
        threaded=True,
        request_handler=QuietHandler,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v2.1"
    image = case.glance.auto_disk_config_enabled_image["id"]
    print(json.dumps({"url": url, "image": image}), flush=True)
    for line in sys.stdin:
        ((verb, host),) = json.loads(line).items()
        if verb == "stop":
            case.computes[host].stop()
        else:
            case.computes[host] = case.restart_compute_service(case.computes[host])
        print(json.dumps({"done": verb}), flush=True)
    server.shutdown()
    os._exit(0)  # Nova's threads are not waited for: nothing is kept


if __name__ == "__main__":
    main()
