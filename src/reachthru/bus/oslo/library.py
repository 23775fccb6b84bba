"""oslo.messaging as reachthru uses it: quiet, in OS threads, with settings of its own.

Everybody here who uses oslo.messaging gets it through this file.
"""

import logging
import warnings

from oslo_config import cfg

# oslo.messaging imports eventlet, sooner or later, and says so; it does not use it here.
warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
logging.getLogger("oslo_service.backend").setLevel(logging.WARNING)

import oslo_messaging  # noqa: E402
from oslo_messaging import opts as oslo_messaging_opts  # noqa: E402
from oslo_messaging._drivers import amqpdriver  # noqa: E402

__all__ = ["configuration", "oslo_messaging"]

RABBIT = "oslo_messaging_rabbit"

# After each message a listener looks whether its worker acknowledged it: 1, 2, 4, 8 ... ms later,
# each look a wake-up, and together 40 % of what a broadcast costs. Nobody waits for that
# acknowledgement: RabbitMQ hands on a hundred messages without (prefetch).
amqpdriver.ACK_REQUEUE_EVERY_SECONDS_MIN = 0.05

# They log errors at each try to connect, several times over. Whoever uses them here says once that
# a broker is away, and once that it is back.
for _name in ("oslo.messaging._drivers", "amqp"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def configuration(exchange: str, **rabbit: object) -> cfg.ConfigOpts:
    """oslo.messaging's settings, apart from the process's `cfg.CONF`.

    `rabbit` are options of its section `oslo_messaging_rabbit`, by its names. What a URL says
    behind its question mark wins over them.
    """
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    for group, options in oslo_messaging_opts.list_opts():
        conf.register_opts(options, group=group)
    conf.set_override("control_exchange", exchange)
    for name, value in rabbit.items():
        conf.set_override(name, value, group=RABBIT)
    return conf
