"""Nova's own code as one process: its API over HTTP, and three compute hosts with our driver.

    .venv-nova/bin/python compute_cloud.py

libvirt, Neutron, Glance and Cinder are Nova's fakes; all else, the driver included, is real. The
fake libvirt forgets a domain's channels: here it keeps them. When all is up, one JSON line is
printed: {"url": the compute endpoint, "image": an image's id, "agent_image": one's that asks for
the QEMU guest agent}. Until stdin ends, {"xml": instance uuid} is answered with {host: XML of its
domain there}.
"""

import nova_server  # tests/integration/nova; sets native threads, and patches them

# isort: split
import json
import os
import sys
import threading
import traceback
import urllib.parse
from pathlib import Path

import fixtures
from lxml import etree
from nova import context
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base
from oslo_config import cfg
from werkzeug.serving import make_server

HOSTS = ("compute-0", "compute-1", "compute-2")
_ALL = fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | fakelibvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE


class RememberingDomain(fakelibvirt.Domain):
    def _parse_definition(self, xml):
        self._channels = etree.fromstring(xml).findall("./devices/channel")
        return super()._parse_definition(xml)

    def XMLDesc(self, flags):  # noqa: N802
        root = etree.fromstring(super().XMLDesc(flags))
        root.find("./devices").extend(self._channels)
        return etree.tostring(root, encoding="unicode")


class Cloud(base.ServersTestBase):
    CAST_AS_CALL = False

    def setUp(self):
        self.flags(api_paste_config=f"{sys.prefix}/etc/nova/api-paste.ini", group="wsgi")
        quotas = ("instances", "cores", "ram")
        self.flags(group="quota", **dict.fromkeys(quotas, -1))
        super().setUp()
        nova_server.let_threads_rest()
        self.flags(compute_driver="reachthru.LibvirtDriver")
        self._patch("nova.tests.fixtures.libvirt.Domain", RememberingDomain)
        self._patch("nova.tests.fixtures.libvirt.Domain.migrateToURI3", self._migrate)
        # There is no disk.
        self._patch(
            "nova.virt.libvirt.driver.LibvirtDriver.migrate_disk_and_power_off",
            lambda *_args, **_more: "{}",
        )
        self._patch("nova.virt.libvirt.utils.get_instance_path", self._instance_path)
        for host in HOSTS:
            self.start_compute(host)

    def _patch(self, name, value):
        self.useFixture(fixtures.MonkeyPatch(name, value))

    def _instance_path(self, instance, *_args, **_more):
        """It is there, as if an image had been made."""
        path = Path(cfg.CONF.instances_path, instance.uuid)
        path.mkdir(exist_ok=True)
        return str(path)

    def _migrate(self, domain, destination, params, flags):
        """What libvirt does with the XML that Nova made for the destination."""
        host = urllib.parse.urlsplit(destination).hostname
        self.connection(host).defineXML(params["destination_xml"]).create()
        domain.complete_job()
        domain.undefine()

    def connection(self, host):
        return self.computes[host].driver._host.get_connection()

    def xml(self, uuid):
        return {
            host: domain.XMLDesc(0)
            for host in HOSTS
            for domain in self.connection(host).listAllDomains(_ALL)
            if domain.UUIDString() == uuid
        }

    def agent_image(self):
        """As its owner uploads it, `--property hw_qemu_guest_agent=yes`."""
        image = dict(self.glance.auto_disk_config_enabled_image)
        image.pop("id")
        image["properties"] = {**image["properties"], "hw_qemu_guest_agent": "yes"}
        return self.glance.create(context.get_admin_context(), image)["id"]


def hold_open(cloud, about):
    """The API of that test case, until stdin ends. `about(case)` is printed, with its url."""
    case = cloud("setUp")  # unittest wants a method to run; the life is here
    try:
        case.setUp()
        print(json.dumps({"url": serve(case), **about(case)}), flush=True)
        for line in sys.stdin:
            print(json.dumps(case.xml(json.loads(line)["xml"])), flush=True)
    except BaseException:
        traceback.print_exc()
    print(case.stdlog.logger.output, file=sys.stderr, flush=True)
    os._exit(0)  # Nova's threads are not waited for: nothing is kept


def serve(case):
    server = make_server(
        "127.0.0.1",
        0,
        nova_server.Tokens(case.api_fixture.app()),
        threaded=True,
        request_handler=nova_server.QuietHandler,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v2.1"


def about(case):
    image = case.glance.auto_disk_config_enabled_image["id"]
    return {"image": image, "agent_image": case.agent_image()}


if __name__ == "__main__":
    hold_open(Cloud, about)
