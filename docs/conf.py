"""The docs site: `make docs` builds it into build/site, with warnings as errors."""

from reachthru import __version__

project = "reachthru"
author = "The reachthru authors"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4  # links to headings work as they do where the repository is shown
exclude_patterns = []
suppress_warnings = [
    "toc.empty_glob",  # a page that another release has, and this one has not
    "myst.header",  # a page may begin at any level, as decisions.md does
]

html_theme = "furo"
html_title = "reachthru"
html_copy_source = False
html_show_sphinx = False
