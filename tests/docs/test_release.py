"""A release: a clone with a tag builds everything of that version; what is not ready is refused."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import reachthru

ROOT = Path(__file__).parents[2]
TAG = "v9.8.7"


def run(*command, cwd, check=True):
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""},
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def git(clone, *words):
    identity = ("-c", "user.name=A tester", "-c", "user.email=tester@example.com")
    return run("git", *identity, *words, cwd=clone).stdout.strip()


@pytest.fixture
def clone(tmp_path):
    """This working tree, as the one commit of a repository that has no tags."""
    folder = tmp_path / "reachthru"
    folder.mkdir()
    git(folder, "init", "--quiet")
    # Seen from there, this tree may have a repository or none, as where CI unpacked an archive.
    git(folder, "--git-dir", folder / ".git", "--work-tree", ROOT, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All of it")
    git(folder, "reset", "--quiet", "--hard")
    return folder


def release(clone):
    return run("tools/release", "--no-deb", cwd=clone, check=False)


def test_a_tagged_clone_builds_everything_of_that_version(clone):
    changelog = clone / "CHANGELOG.md"
    text = changelog.read_text()
    section = "## [9.8.7] - 2027-01-02\n\n### Added\n\n- A thing that users notice.\n\n## [0.1.0]"
    changelog.write_text(text.replace("## [0.1.0]", section, 1))
    git(clone, "commit", "--quiet", "--all", "--message", "9.8.7")
    git(clone, "tag", TAG)
    done = release(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    out = clone / "build/release" / TAG
    assert {path.name for path in out.iterdir()} == {
        "reachthru-9.8.7.tar.gz",
        "reachthru-9.8.7-py3-none-any.whl",
        "reachthru_nova_compute-9.8.7-py3-none-any.whl",
        "NOTES.md",
        "SHA256SUMS",
    }
    assert (out / "NOTES.md").read_text() == "### Added\n\n- A thing that users notice.\n"
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=out)
    with zipfile.ZipFile(out / "reachthru-9.8.7-py3-none-any.whl") as wheel:
        assert wheel.read("reachthru/_version.py").decode().strip() == '__version__ = "9.8.7"'
    # Who builds from the archive has no repository, and gets the same version.
    with tarfile.open(out / "reachthru-9.8.7.tar.gz") as archive:
        archive.extractall(out, filter="data")
    assert version_of(out / "reachthru-9.8.7") == "9.8.7"


@pytest.mark.parametrize(
    ("make_unready", "word"),
    [
        (lambda clone: None, "no tag"),
        (lambda clone: git(clone, "tag", TAG), "CHANGELOG.md"),
        (lambda clone: (git(clone, "tag", TAG), (clone / "new").touch()), "not committed"),
        (lambda clone: git(clone, "tag", "v9.8"), "vX.Y.Z"),
    ],
)
def test_what_is_not_ready_is_refused(clone, make_unready, word):
    make_unready(clone)
    done = release(clone)
    assert done.returncode == 1
    assert word in done.stderr


def version_of(folder):
    return run(sys.executable, "-m", "hatchling", "version", cwd=folder).stdout.strip()


def test_a_clone_without_tags_comes_after_the_last_release(clone):
    assert re.match(r"0\.1\.1\.dev\d+\+g", version_of(clone))


def test_a_tree_without_a_repository_is_the_last_release(clone, tmp_path):
    (clone / ".git").rename(tmp_path / "away")
    assert version_of(clone) == "0.1.0"


def test_the_version_without_a_build_is_the_last_releases():
    text = (ROOT / "src/reachthru/__init__.py").read_text()
    static = re.search(r'^__version__ = "(.*)"$', text, re.M)[1]
    for project in ("pyproject.toml", "packaging/nova-compute/pyproject.toml"):
        assert f'fallback-version = "{static}"' in (ROOT / project).read_text()
    assert reachthru.__version__
