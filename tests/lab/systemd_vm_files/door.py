"""The lab's door in a VM with systemd, the other end of src/reachthru/demo/door.py."""

import base64
import os
import subprocess
import time
from pathlib import Path

PORT = "/dev/virtio-ports/reachthru.lab"


def lines(port):
    buffer = b""
    while True:
        data = os.read(port, 65536)
        if not data:  # nobody is connected on the host's side
            time.sleep(0.05)
        buffer += data
        *whole, buffer = buffer.split(b"\n")
        yield from (line for line in whole if line.strip())


def main():
    while not Path(PORT).exists():
        time.sleep(0.05)
    port = os.open(PORT, os.O_RDWR)
    Path("/dev/console").write_text("lab: guest is up\n")
    for line in lines(port):
        number, command = line.split()
        done = subprocess.run(
            base64.b64decode(command),
            shell=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        answer = b"%s %d %d\n" % (number, done.returncode, len(done.stdout)) + done.stdout
        while answer:
            answer = answer[os.write(port, answer) :]


main()
