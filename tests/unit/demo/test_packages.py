"""Fetching packages, with stand-ins for apt-get and dpkg that count what they are asked."""

import pytest

from reachthru.demo.packages import KERNEL_META_PACKAGE, PackageError, fetch

APT_CACHE = """#!/bin/sh
echo "linux-image-cloud-amd64"
echo "  Depends: linux-image-6.1.0-99-cloud-amd64"
"""
APT_GET = """#!/bin/sh
echo "$@" >>"$CALLS"
[ "$1" = update ] && exit
shift
for name in "$@"; do echo $name >${name}_1.0_amd64.deb; done
"""
DPKG = """#!/bin/sh
mkdir -p "$3" && cp "$2" "$3/content"
"""
BROKEN = """#!/bin/sh
echo "E: Unable to locate package busybox-static" >&2
exit 100
"""

STALE = f"""{APT_GET.splitlines()[0]}
[ "$1" = update ] && touch "$CALLS.updated" && exit
[ -e "$CALLS.updated" ] || {{ echo "E: 404 Not Found" >&2; exit 100; }}
{APT_GET}"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def write(**scripts):
        for name, text in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(text)
            path.chmod(0o755)

    write(apt_cache=APT_CACHE, apt_get=APT_GET, dpkg=DPKG)
    return write


def calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines()


def test_the_newest_kernel_is_found_by_its_meta_package(tools, tmp_path):
    folders = fetch([KERNEL_META_PACKAGE], tmp_path / "cache", lambda _text: None)
    content = folders[KERNEL_META_PACKAGE] / "content"
    assert content.read_text() == "linux-image-6.1.0-99-cloud-amd64\n"


def test_what_was_fetched_once_is_not_fetched_again(tools, tmp_path):
    first = fetch(["busybox-static"], tmp_path / "cache", lambda _text: None)
    told = []
    assert fetch(["busybox-static"], tmp_path / "cache", told.append) == first
    assert len(calls(tmp_path)) == 1
    assert told == []


def test_a_package_more_keeps_those_that_are_there(tools, tmp_path):
    fetch(["busybox-static"], tmp_path / "cache", lambda _text: None)
    fetch(["zlib1g"], tmp_path / "cache", lambda _text: None)
    fetch(["busybox-static"], tmp_path / "cache", lambda _text: None)
    assert [line.split()[1:] for line in calls(tmp_path)] == [["busybox-static"], ["zlib1g"]]


def test_root_gets_fresh_package_lists_where_they_are_missing_or_old(tools, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tools(apt_get=STALE)
    told = []
    assert "busybox-static" in fetch(["busybox-static"], tmp_path / "cache", told.append)
    assert "the package lists are missing or old: fetching them" in told


def test_a_package_that_can_not_be_had_is_one_line_with_a_way_out(tools, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    tools(apt_get=BROKEN)
    with pytest.raises(PackageError) as caught:
        fetch(["busybox-static"], tmp_path / "cache", lambda _text: None)
    assert "Unable to locate package busybox-static" in str(caught.value)
    assert "apt-get update" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_machine_without_apt_is_told_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="no apt-get here"):
        fetch(["busybox-static"], tmp_path / "cache", lambda _text: None)
