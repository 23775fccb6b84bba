"""The datasource `reachthru`: each active fault is one alarm.

Vitrage imports this because `[datasources] types` has its name, and reads `OPTS` as [reachthru].
"""

from oslo_config import cfg
from vitrage.common.constants import DatasourceOpts, UpdateMethod

DATASOURCE = "reachthru"

OPTS = [
    cfg.StrOpt(
        DatasourceOpts.TRANSFORMER,
        default=f"{__name__}.transformer.FaultTransformer",
        help="Class that makes alarms of faults",
    ),
    cfg.StrOpt(
        DatasourceOpts.DRIVER,
        default=f"{__name__}.driver.FaultDriver",
        help="Class that takes faults",
    ),
    cfg.StrOpt(
        DatasourceOpts.UPDATE_METHOD,
        default=UpdateMethod.PUSH,
        help="Controllers tell of each change (push); a snapshot of their REST API is read"
        " besides, at the start and each [datasources] snapshots_interval",
    ),
    cfg.ListOpt(
        "url",
        default=["http://127.0.0.1:8780"],
        help="Controllers' REST API; they all know the same, and the first that answers is heard",
    ),
    cfg.StrOpt(
        "auth",
        default="none",
        choices=["none", "token", "keystone"],
        help="As the controllers' [api] auth: with token, token_file has it; with keystone, the"
        " user of [service_credentials] must have a role that may read there",
    ),
    cfg.StrOpt("token_file", default="", help="A file whose first line is the token"),
    cfg.StrOpt("ca_file", default="", help="PEM: who vouches for controllers; empty: as requests"),
    cfg.StrOpt("cert_file", default="", help="PEM: the certificate to show to controllers"),
    cfg.StrOpt("key_file", default="", help="PEM: its key; empty: it is in cert_file as well"),
    cfg.FloatOpt("timeout", default=10.0, min=0.1, help="For an answer, in seconds"),
]
