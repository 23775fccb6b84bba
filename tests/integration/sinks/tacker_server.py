"""Tacker's own API (vnflcm v2, server_notification) as one process: SQLite, no Keystone.

    .venv-masakari-tacker/bin/python tacker_server.py FOLDER

When all is up, {"url": ...} is printed. Each line of JSON on stdin is a VNF instance (as Tacker's
objects say) to put into its database, and is answered with itself. GET /done says what the API
asked its conductor to do. The conductor is ours: the real one would ask Heat; a heal whose cause
says "Heat fails" fails. Ends when stdin does.
"""

import json
import os
import sys
import threading
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import oslo_messaging  # noqa: E402
import tacker.conf  # noqa: E402, F401
from oslo_config import cfg  # noqa: E402
from paste import deploy, urlmap  # noqa: E402
from tacker import context  # noqa: E402
from tacker.common import config, rpc  # noqa: E402
from tacker.db import api as db_api  # noqa: E402
from tacker.db import model_base  # noqa: E402
from tacker.sol_refactored import objects  # noqa: E402
from tacker.sol_refactored.api import router  # noqa: E402, F401
from tacker.sol_refactored.conductor import conductor_rpc_v2  # noqa: E402
from tacker.sol_refactored.objects.base import TackerObjectSerializer  # noqa: E402
from tacker.sol_refactored.objects.v2.fields import LcmOperationStateType  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402


class Conductor:
    target = oslo_messaging.Target(version="1.0")

    def __init__(self):
        self.done = []

    def start_lcm_op(self, context, lcmocc_id):
        operation = objects.VnfLcmOpOccV2.get_by_id(context, lcmocc_id)
        if "Heat fails" in operation.operationParams.cause:
            operation.operationState = LcmOperationStateType.FAILED_TEMP
            operation.update(context)
        self.done.append(
            {
                "vnf": operation.vnfInstanceId,
                "operation": str(operation.operation),
                "parameters": operation.operationParams.to_dict(),
            }
        )

    def server_notification_notify(self, context, vnf_instance_id, vnfc_instance_ids):
        self.done.append({"vnf": vnf_instance_id, "notified": vnfc_instance_ids})


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args):
        """stderr is for what goes wrong."""


def prepare(folder):
    settings = folder / "tacker.conf"
    settings.write_text(
        "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\n"
        f"[database]\nconnection = sqlite:///{folder}/tacker.sqlite\n"
        f"[coordination]\nbackend_url = file://{folder}/locks\n"
        "[server_notification]\nserver_notification = true\n"
        "[v2_vnfm]\nvnf_instance_page_size = 2\n"
    )
    config.init([], default_config_files=[str(settings)])
    objects.register_all()
    model_base.BASE.metadata.create_all(db_api.get_engine())


def main(folder):
    folder = Path(folder)
    prepare(folder)
    conductor = Conductor()
    target = conductor_rpc_v2.VnfLcmRpcApiV2.target(server="conductor")
    oslo_messaging.get_rpc_server(
        rpc.TRANSPORT,
        target,
        [conductor],
        executor="threading",
        serializer=rpc.RequestContextSerializer(TackerObjectSerializer()),
    ).start()
    api = urlmap.URLMap()
    for path, name in {
        "/vnflcm/v2": "vnflcm_v2",
        "/server_notification": "server_notification",
    }.items():
        api[path] = deploy.loadapp(f"config:{sys.prefix}/etc/tacker/api-paste.ini", name=name)

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/done":
            return api(environ, start_response)
        start_response("200 OK", [])
        return [json.dumps(conductor.done).encode()]

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    cfg.CONF.set_override("endpoint", f"http://127.0.0.1:{server.server_port}", group="v2_vnfm")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    for line in sys.stdin:
        objects.VnfInstanceV2.from_dict(json.loads(line)).create(context.get_admin_context())
        sys.stdout.write(line)
        sys.stdout.flush()
    os._exit(0)  # its threads would go on for a while


main(*sys.argv[1:])
