"""The real OpenStackClient, for many commands."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).with_name("server.py")


@dataclass
class Said:
    code: int
    out: str
    error: str

    @property
    def json(self):
        assert self.code == 0, self
        return json.loads(self.out)


class OpenStackClient:
    """Commands run in `folder`, where no clouds.yaml is."""

    def __init__(self, folder):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *words, **environment):
        order = {
            "words": [str(word) for word in words],
            "folder": str(self._folder),
            "environment": {
                "PATH": os.environ["PATH"],
                "HOME": str(self._folder),
                **{name: str(value) for name, value in environment.items()},
            },
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Said(**json.loads(self._process.stdout.readline()))

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
