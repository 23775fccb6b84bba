"""How one end of a bus proves who it is, and knows whom it talks to.

Every file is read again at each connection, so that certificates and passwords change without a
restart. Nothing of what is in them is ever shown.
"""

import ssl
from pathlib import Path

from msgspec import Struct

from reachthru.certificates import CertificateError, client_tls
from reachthru.secret_files import SecretFileError, read_secret


class DoorError(Exception):
    """What `[bus]` says of files and names can't be used; one line that says what to do."""


class BusDoor(Struct, frozen=True, kw_only=True):
    """The locks of `[bus]`. `cert_file` without `key_file`: the key is in the same file."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None

    @property
    def has_tls(self) -> bool:
        """Something is set that only a TLS connection can use."""
        return any((self.ca_file, self.cert_file, self.key_file))

    def check(self, *, tls: bool) -> None:
        """The settings fit each other and the URL, and their files can be used.

        Raises `DoorError`.
        """
        if self.has_tls and not tls:
            raise DoorError("ca_file, cert_file and key_file are for an encrypted bus: mqtts://...")
        if self.key_file and not self.cert_file:
            raise DoorError("key_file is set and cert_file is not: set both")
        if (self.username is None) != (self.password_file is None):
            raise DoorError("username and password_file go together: set both, or neither")
        self.password()
        if tls:
            self.tls_context()

    def password(self) -> str | None:
        """What `password_file` holds now. Raises `DoorError`."""
        if self.password_file is None:
            return None
        try:
            return read_secret(self.password_file)
        except SecretFileError as error:
            raise DoorError(f"password_file = {error}") from error

    def tls_context(self) -> ssl.SSLContext:
        """What to connect with now; without `ca_file`, the machine's authorities are trusted.

        Raises `DoorError`.
        """
        try:
            return client_tls(self.ca_file, self.cert_file, self.key_file)
        except CertificateError as error:
            raise DoorError(str(error)) from error
