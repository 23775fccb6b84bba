"""Nova's own code with our wheels installed beside it, and a cloud of it as an admin sees it."""

import json
import os
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import openstack

ROOT = Path(__file__).parents[2]
NOVA = ROOT / ".venv-nova"  # tools/setup-services makes it
# Both venvs are of the same Python.
SITE_PACKAGES = Path(f"lib/python3.{sys.version_info.minor}/site-packages")
DEADLINE_S = 60


class NovaEnvironment:
    """A venv with Nova and our wheels. All but them is .venv-nova's, which stays as it is."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "bin/python"
        self.wheels = self._build_wheels()
        _run(NOVA / "bin/python", "-m", "venv", "--without-pip", folder)
        packages = folder / SITE_PACKAGES
        # Nova's package is a folder of its own here: one of the wheels installs into it.
        _run("cp", "-rs", NOVA.resolve() / SITE_PACKAGES / "nova", packages / "nova")
        (packages / "rest.pth").write_text(f"{NOVA.resolve() / SITE_PACKAGES}\n")
        (folder / "etc").symlink_to(NOVA.resolve() / "etc")
        pip = (NOVA / "bin/python", "-m", "pip", "--python", self.python, "install")
        _run(*pip, "--quiet", "--no-index", "--no-deps", *self.wheels)

    def _build_wheels(self):
        """Of reachthru, and of what nova-compute loads."""
        target = self.folder / "wheels"
        build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index")
        _run(*build, "--no-build-isolation", "-w", target, ROOT, ROOT / "packaging/nova-compute")
        return sorted(target.glob("*.whl"))


def _run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Program:
    """A script in that environment that says a line of JSON when it is ready, and then answers one
    with one. What it logs is `log`.
    """

    def __init__(self, environment, script, *arguments, more_path=()):
        path = (
            ROOT / "tests/integration/nova",
            ROOT / "tests/integration/nova_plugins",
            *more_path,
        )
        self._log = environment.folder / f"{script.stem}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in (environment.python, script, *arguments)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.about = self._answer()

    def ask(self, question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def log(self):
        return self._log.read_text(errors="replace")

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _answer(self):
        answer = json.loads(self._process.stdout.readline() or "null")
        assert answer is not None, self.log()
        return answer


class ComputeCloud:
    """Compute hosts with our driver, as an admin sees them: `program` serves Nova's API, and
    answers {"xml": instance uuid} with {host: XML of its domain there}.
    """

    def __init__(self, program):
        self._program = program
        self.image, self.agent_image = program.about["image"], program.about["agent_image"]
        url = program.about["url"]
        self.compute = openstack.connect(
            auth_type="admin_token",
            auth={"endpoint": url, "token": f"admin:{'a' * 32}"},
            compute_endpoint_override=url,
            compute_default_microversion="2.90",
            load_yaml_config=False,
            load_envvars=False,
        ).compute

    def flavor(self, extra_specs=None):
        name = uuid.uuid4().hex
        flavor = self.compute.create_flavor(name=name, vcpus=1, ram=256, disk=0)
        if extra_specs:
            answer = self.set_extra_specs(flavor, extra_specs)
            assert answer.status_code == 200, answer.text
        return flavor

    def set_extra_specs(self, flavor, extra_specs, microversion="2.86"):
        """Nova's answer."""
        path = f"/flavors/{flavor.id}/os-extra_specs"
        body = {"extra_specs": extra_specs}
        return self.compute.post(path, json=body, microversion=microversion)

    def server(self, extra_specs=None, image=None, host=None):
        """Booted, of a flavor with those extra specs; on `host`, or where Nova wants it."""
        server = self.compute.create_server(
            name="vm",
            image_id=image or self.image,
            flavor_id=self.flavor(extra_specs).id,
            networks="none",
            **({"host": host} if host else {}),
        )
        return self.settled(server, "active")

    def settled(self, server, state):
        """The server as it is when it is in `state` with no task under way."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            server = self.compute.get_server(server.id)
            if server.vm_state == state and server.task_state is None:
                return server
            assert server.vm_state != "error", server.fault
            assert time.monotonic() < deadline, f"{server.vm_state} {server.task_state}"
            time.sleep(0.05)

    def moved(self, server):
        """The server, where it runs when it is no more where `server` was."""
        deadline = time.monotonic() + DEADLINE_S
        while self.compute.get_server(server.id).compute_host == server.compute_host:
            assert time.monotonic() < deadline, "it did not move"
            time.sleep(0.05)
        return self.settled(server, "active")

    def force_down(self, host):
        services = self.compute.services(binary="nova-compute")
        service_id = next(found.id for found in services if found.host == host)
        path = f"/os-services/{service_id}"
        answer = self.compute.put(path, json={"forced_down": True}, microversion="2.53")
        assert answer.status_code == 200

    def domain_xml(self, server):
        """As libvirt has it on the host where Nova says that the server is."""
        return self._program.ask({"xml": server.id})[server.compute_host]

    def ports(self, server):
        """The names of its virtio-serial ports, in the domain's order, with their sockets."""
        found = {}
        for channel in ET.fromstring(self.domain_xml(server)).iterfind("devices/channel"):
            found[channel.find("target").get("name")] = channel.find("source").get("path")
        return found
