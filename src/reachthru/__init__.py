"""reachthru: tells a cloud, within a second, that a virtual machine is sick inside."""

from contextlib import suppress

# Of a tree from which nothing was built. A build writes its own version, which is the git tag's.
__version__ = "0.1.0"
with suppress(ImportError):
    import reachthru._version as _built

    __version__ = _built.__version__
