"""Why RabbitMQ is not there, or refuses, in words that an operator can act on."""

import ssl
from collections.abc import Iterator

from amqp.exceptions import AccessRefused, AMQPError, ChannelError, MessageNacked, NotAllowed

SILENT = (
    "it does not answer: frozen, out of memory or disk, or a queue is without a leader (see"
    " `rabbitmqctl status`)"
)
_UNTRUSTED = "its certificate is not trusted"
_LOGIN = "bad user name, password or certificate: see [bus] username, password_file and cert_file"
_RIGHTS = "not authorised"

# OpenSSL's names of what went wrong. An alert is the broker's word about us.
_TLS = {
    "CERTIFICATE_REQUIRED": "it wants a certificate: set [bus] cert_file and key_file",
    "ALERT_HANDSHAKE_FAILURE": "it refuses our TLS: does it want [bus] cert_file and key_file?",
    "ALERT_UNKNOWN_CA": "it does not trust the certificate in [bus] cert_file",
    "ALERT_CERTIFICATE_EXPIRED": "the certificate in [bus] cert_file has expired",
    "ALERT_CERTIFICATE_REVOKED": "the certificate in [bus] cert_file is revoked",
    "ALERT_BAD_CERTIFICATE": "it does not accept the certificate in [bus] cert_file",
    "WRONG_VERSION_NUMBER": "its port is not an encrypted one: rabbit://?",
}


def of_error(error: BaseException) -> str:
    """oslo.messaging and kombu wrap what happened, several times over."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, AMQPError) and cause.reply_text:
            return _of_amqp(cause)
        if isinstance(cause, TimeoutError):
            return SILENT
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{_UNTRUSTED}: {cause.verify_message}; see [bus] ca_file"
        if isinstance(cause, ssl.SSLError):
            return next((words for name, words in _TLS.items() if name in str(cause)), str(cause))
        if isinstance(cause, OSError):
            return (cause.strerror or str(cause)).lower()
    return _one_line(causes[-1])


def is_refusal(words: str) -> bool:
    """Somebody answered, and there is something to put right; else nobody is there."""
    return words in _TLS.values() or words.startswith((_UNTRUSTED, _LOGIN, _RIGHTS, "[bus]"))


def is_of_the_message(error: BaseException) -> bool:
    """The broker answered, and the answer is no; the connection is as good as before."""
    return any(isinstance(cause, ChannelError | MessageNacked) for cause in _chain(error))


def is_of_rights(error: BaseException) -> bool:
    return any(isinstance(cause, AccessRefused) for cause in _chain(error))


def _of_amqp(error: AMQPError) -> str:
    words = _one_line(error.reply_text).partition(" - ")[2] or _one_line(error.reply_text)
    if isinstance(error, AccessRefused) and words.startswith("Login was refused"):
        return _LOGIN
    if isinstance(error, AccessRefused | NotAllowed):
        return f"{_RIGHTS}: {words}"
    return words


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(what: object) -> str:
    return " ".join(str(what).split()) or type(what).__name__
