"""msgspec, without what no message of ours needs.

msgspec imports `decimal` and `uuid` to know their types, `typing_extensions` where it finds it
(which brings `inspect`, `ast` and `tokenize`), and all its own modules. Together they are a
sixth of this daemon's memory; from Python 3.11 on `typing` has all that it needs.
"""

import sys
from types import ModuleType

_UNUSED = ("inspect", "msgpack", "structs", "toml", "yaml")


def import_msgspec_small() -> None:
    """Imports msgspec with stand-ins for what it takes along, and takes them away again.

    To be called before anything else imports it; after that it does nothing. A msgspec that can't
    live with them is imported as it is.
    """
    if "msgspec" in sys.modules:
        return
    lent = {name: module for name, module in _stand_ins().items() if name not in sys.modules}
    sys.modules.update(lent)  # type: ignore[arg-type]  # None: "there is none", for an import
    try:
        import msgspec  # noqa: F401 - loaded for those that come after
    except Exception:  # whatever it is that it missed
        for name in [name for name in sys.modules if name.partition(".")[0] == "msgspec"]:
            del sys.modules[name]
    finally:
        for name in lent:
            sys.modules.pop(name, None)


def _stand_ins() -> dict[str, ModuleType | None]:
    return {
        "typing_extensions": None,
        "decimal": _module("decimal", Decimal=type("Decimal", (), {})),
        "uuid": _module(
            "uuid",
            UUID=type("UUID", (), {"__slots__": ("int",)}),
            SafeUUID=type("SafeUUID", (), {"unknown": None}),
        ),
        **{f"msgspec.{name}": _module(f"msgspec.{name}") for name in _UNUSED},
    }


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
