"""How one end of a bus proves who it is, and knows whom it talks to.

Every file is read again at each connection, so that certificates and passwords change without a
restart. Nothing of what is in them is ever shown.
"""

import ssl
from pathlib import Path

from msgspec import Struct, structs

from reachthru.certificates import CertificateError, client_tls
from reachthru.secret_files import SecretFileError, read_secret


class DoorError(Exception):
    """What `[bus]` says of files and names can't be used; one line that says what to do."""


class UrlSecret(Struct, frozen=True):
    """The password of `rabbit://user:password@host`, as OpenStack's settings have it."""

    password: str

    def __repr__(self) -> str:
        return "UrlSecret(...)"


class BusDoor(Struct, frozen=True, kw_only=True):
    """The locks of `[bus]`. `cert_file` without `key_file`: the key is in the same file."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    in_url: UrlSecret | None = None

    @property
    def has_tls(self) -> bool:
        """Something is set that only a TLS connection can use."""
        return any((self.ca_file, self.cert_file, self.key_file))

    def check(self, *, tls: bool) -> None:
        """The settings fit each other and the URL, and their files can be used.

        Raises `DoorError`.
        """
        if self.has_tls and not tls:
            raise DoorError(
                "ca_file, cert_file and key_file are for an encrypted bus:"
                " mqtts://... or rabbits://..."
            )
        if self.key_file and not self.cert_file:
            raise DoorError("key_file is set and cert_file is not: set both")
        if self.in_url is None and (self.username is None) != (self.password_file is None):
            raise DoorError("username and password_file go together: set both, or neither")
        self.password()
        if tls:
            self.tls_context()

    def password(self) -> str | None:
        """What `password_file` holds now, or what the URL said. Raises `DoorError`."""
        if self.in_url is not None:
            return self.in_url.password
        if self.password_file is None:
            return None
        try:
            return read_secret(self.password_file)
        except SecretFileError as error:
            raise DoorError(f"password_file = {error}") from error

    def with_login(self, username: str, password: str) -> "BusDoor":
        """With what a URL says. Raises `DoorError`."""
        if self.username is not None or self.password_file is not None:
            raise DoorError("url has a user, and so has username: set one of the two")
        return structs.replace(self, username=username, in_url=UrlSecret(password))

    def tls_context(self) -> ssl.SSLContext:
        """What to connect with now; without `ca_file`, the machine's authorities are trusted.

        Raises `DoorError`.
        """
        try:
            return client_tls(self.ca_file, self.cert_file, self.key_file)
        except CertificateError as error:
            raise DoorError(str(error)) from error
