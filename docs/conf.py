"""The docs site: `make docs` builds it into build/site, with warnings as errors."""

from pathlib import Path

from reachthru import __version__

project = "reachthru"
author = "The reachthru authors"
version = release = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 4  # links to headings work as they do where the repository is shown

html_theme = "furo"
html_title = "reachthru"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# What grows beside this site: in its place in the navigation once it is there.
_GROWING = {"install", "page", "observability", "alerts", "cli", "metrics", "benchmarks", "scaling"}


def _only_what_is_there(app, docname, source):
    if docname == "index":
        missing = {name for name in _GROWING if not Path(app.srcdir, f"{name}.md").exists()}
        lines = source[0].splitlines(keepends=True)
        source[0] = "".join(line for line in lines if line.strip() not in missing)


def setup(app):
    app.connect("source-read", _only_what_is_there)
