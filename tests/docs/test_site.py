"""The docs site: it builds without a warning, is current, and what it shows is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}


def build(source, target):
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", source, target],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", target)
    assert done.returncode == 0, done.stderr
    return target


def test_every_page_is_built_and_every_link_leads_somewhere(site):
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    assert pages <= built


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"(https?:)?//|<link[^>]*href=\"(https?:)?//"
    )
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text()), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", sheet.read_text()), sheet


@pytest.mark.parametrize(
    "mistake", ["[a page](nowhere.md)", "[a heading](tutorial.md#nowhere)", "![a picture](no.svg)"]
)
def test_a_link_that_leads_nowhere_is_an_error(tmp_path, mistake):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((ROOT / "docs/conf.py").read_text())
    (source / "tutorial.md").write_text("---\norphan: true\n---\n# A title\n")
    (source / "index.md").write_text(f"# A title\n\n{mistake}\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "index.md:3" in done.stderr


def test_what_is_made_from_the_code_is_current():
    done = subprocess.run(
        [ROOT / "tools/docs-reference", "--check"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_links_to_what_is_there():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
