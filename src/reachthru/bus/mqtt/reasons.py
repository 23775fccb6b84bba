"""Why a broker is not there, or refuses, in words that an operator can act on."""

import ssl
from collections.abc import Iterator

from paho.mqtt.reasoncodes import ReasonCode

BROKE = "the connection broke"

# MQTT 5.0, section 2.4. paho translates the codes of MQTT 3.1.1 to these.
UNSUPPORTED_VERSION = 0x84
NOT_AUTHORISED = 0x87

_CODES = {
    0x85: "it does not accept our client identifier",
    0x86: "bad user name or password: see [bus] username and password_file",
    NOT_AUTHORISED: "not authorised: see [bus] username, password_file and cert_file, and the"
    " broker's access rules",
    0x88: "it is not available now",
    0x89: "it is busy",
    0x8A: "we are banned",
    0x8B: "it shuts down",
    0x8D: "it heard nothing from us for too long",
    0x8E: "somebody else connected under our name: is there another of us?",
    0x93: "we sent more at once than it takes",
    0x95: "a message is too long for it",
    0x97: "our quota is exceeded",
    0x9F: "we connect too often",
}

# OpenSSL's names of what went wrong. An alert is the broker's word about us.
_TLS = {
    "CERTIFICATE_REQUIRED": "it wants a certificate: set [bus] cert_file and key_file",
    "ALERT_HANDSHAKE_FAILURE": "it refuses our TLS: does it want [bus] cert_file and key_file?",
    "ALERT_UNKNOWN_CA": "it does not trust the certificate in [bus] cert_file",
    "ALERT_CERTIFICATE_EXPIRED": "the certificate in [bus] cert_file has expired",
    "ALERT_CERTIFICATE_REVOKED": "the certificate in [bus] cert_file is revoked",
    "ALERT_BAD_CERTIFICATE": "it does not accept the certificate in [bus] cert_file",
    "WRONG_VERSION_NUMBER": "its port is not an encrypted one: mqtt://?",
}

_UNTRUSTED = "its certificate is not trusted"
_REFUSALS = {*_CODES.values(), *_TLS.values()}


def of_code(code: ReasonCode) -> str:
    return _CODES.get(code.value, str(code).lower())


def of_error(error: BaseException) -> str:
    """What made a connection fail. The libraries wrap the system's words in their own."""
    for cause in _chain(error):
        if isinstance(cause, TimeoutError):
            return "it does not answer"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{_UNTRUSTED}: {cause.verify_message}; see [bus] ca_file"
        if isinstance(cause, OSError):
            tls = isinstance(cause, ssl.SSLError)
            return of_text(str(cause)) if tls else (cause.strerror or str(cause)).lower()
    return str(error) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_refusal(words: str) -> bool:
    """Somebody answered, and there is something to put right; else nobody is there."""
    return words in _REFUSALS or words.startswith((_UNTRUSTED, "[bus]"))


def of_text(text: str) -> str:
    """What a library said of it."""
    for name, words in _TLS.items():
        if name in text:
            return words
    return BROKE if "EOF" in text else text
