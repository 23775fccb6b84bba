"""Certificates, made as docs/security.md says."""

import subprocess
from pathlib import Path

MAKE_CERTIFICATES = Path(__file__).parents[2] / "examples/tls/make-certificates"


class Pki:
    """An authority, and its certificates."""

    def __init__(self, folder):
        self.folder = folder
        self._make("ca")
        self.ca = folder / "ca.pem"

    def server(self, *names):
        """(certificate, key) of what is called so."""
        self._make("server", *names)
        return self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"

    def client(self, name):
        self._make("client", name)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _make(self, *words):
        subprocess.run([MAKE_CERTIFICATES, self.folder, *words], check=True)
