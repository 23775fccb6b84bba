"""`reachthru demo`: real VMs are heartbeated and made sick, and talk to each other without a
network; every fault is seen at a consumer."""

import argparse
import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from reachthru.demo.errors import DemoError
from reachthru.demo.group_scenario import GroupScenario
from reachthru.demo.guests import DemoGuest, RealGuest, SimulatedGuest
from reachthru.demo.image import GuestImage, build_image
from reachthru.demo.qemu_vm import QEMU
from reachthru.demo.scenario import Scenario, Step
from reachthru.demo.stack import Stack
from reachthru.demo.view import TerminalView

BUILD_DIR = Path("build")
_NEXT = """
Where to go from here
  README.md       put the daemon into a VM of yours, and the agent beside it
  make test       the same and worse, each 20 times in a row
  docs/spec/      what a guest and a host say to each other"""


@dataclass(frozen=True)
class _Machine:
    """What a real VM needs."""

    hypervisor: str
    image: GuestImage


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `demo` to the operator's commands."""
    parser = subparsers.add_parser("demo", help="see it work on a real VM", description=__doc__)
    parser.add_argument(
        "--json",
        type=Path,
        default=BUILD_DIR / "demo.json",
        metavar="FILE",
        help="where the results go (default: %(default)s)",
    )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FOLDER",
        help="only put the guest's kernel and initramfs there, for a VM of your own; x86_64",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 if every step was seen, else 1."""
    view = TerminalView(Console(highlight=False))
    if args.image is not None:
        return _give_image(view, args.image)
    try:
        machine = _machine(view)
        steps = _play(view, machine)
    except KeyboardInterrupt:
        view.fail("interrupted: not every step was seen", [])
        return 1
    finally:
        view.close()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(_results(machine, steps))
    seen = sum(step.ok for step in steps)
    transport = "a simulated port" if machine is None else machine.hypervisor
    view.say(f"\n{seen} of {len(steps)} steps seen on {transport}; {args.json} has them.")
    if seen < len(steps):
        return 1
    view.say(_NEXT)
    return 0


def _give_image(view: TerminalView, folder: Path) -> int:
    """What the tutorial boots. It has the guest daemon, and a shell on its serial console."""
    try:
        image = build_image(BUILD_DIR, view.note)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.kernel, folder / "kernel")
        shutil.copyfile(image.initramfs, folder / "initramfs")
    except (DemoError, OSError) as error:
        view.fail(f"no image: {error}", [])
        return 1
    finally:
        view.close()
    view.say(f"{folder}/kernel and {folder}/initramfs are what QEMU boots.")
    return 0


def _machine(view: TerminalView) -> _Machine | None:
    """None, and one line that says why, where no VM can be had."""
    try:
        hypervisor = _hypervisor()
        image = build_image(BUILD_DIR, view.note)
    except DemoError as error:
        view.be_simulated(str(error))
        return None
    view.say(f"A small VM on {hypervisor}, with a virtio-serial port; service level SAL1.")
    return _Machine(hypervisor, image)


def _hypervisor() -> str:
    """As `qemu 7.2.22 (tcg)`. Raises `DemoError`."""
    if shutil.which(QEMU) is None:
        raise DemoError(f"{QEMU} is not installed")
    try:
        said = subprocess.run(
            [QEMU, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DemoError(f"{QEMU} does not run: {error}") from error
    version = re.search(r"version ([\d.]+)", said.stdout)
    if version is None:
        raise DemoError(f"{QEMU} does not say its version: {said.stdout.strip()}")
    return f"qemu {version[1]} (tcg)"


def _play(view: TerminalView, machine: _Machine | None) -> list[Step]:
    """Every step, after as many of them were played as went well."""
    stack = Stack()

    def make_guest(ports: Path) -> DemoGuest:
        if machine is None:
            return SimulatedGuest(stack.folder, ports)
        return RealGuest(machine.image, stack.folder, ports)

    heartbeat = Scenario(stack, view, lambda: make_guest(stack.ports))
    group = GroupScenario(stack, view, make_guest)
    view.note("starting a controller, a host agent and a consumer")
    try:
        with stack:
            try:
                heartbeat.play()
                group.play()
            except DemoError as error:
                guests = [*([heartbeat.guest] if heartbeat.guest else []), *group.guests]
                words = [f"a guest said last:\n{guest.last_words()}" for guest in guests[-1:]]
                view.fail(str(error), [stack.logs(), *words])
    except DemoError as error:
        view.fail(str(error), [])
    return [*heartbeat.steps, *group.steps]


def _results(machine: _Machine | None, steps: list[Step]) -> str:
    results = {
        "transport": "simulated" if machine is None else "virtio-serial",
        "hypervisor": None if machine is None else machine.hypervisor,
        "steps": [asdict(step) for step in steps],
    }
    return json.dumps(results, indent=2) + "\n"
