"""A real Chromium, a real controller, and hosts that are played at its own doors."""

import json
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from lab.browser import chromium
from lab.lifelike import seed_lifelike
from lab.played_cloud import PlayedCloud

AXE_VERSION = "4.10.3"
CACHE = Path(__file__).parents[2] / "build" / "cache"
SIZES = {"desktop": {"width": 1360, "height": 900}, "phone": {"width": 360, "height": 740}}
SESSION = {"scope": "session", "loop_scope": "session"}
expect.set_options(timeout=20_000)


@pytest_asyncio.fixture(**SESSION)
async def browser():
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(**SESSION)
async def cloud(tmp_path_factory):
    """24 hosts and some 430 guests on a bad day; `cloud.told` has its open faults, by a word."""
    async with PlayedCloud(tmp_path_factory.mktemp("cloud")) as played:
        played.told = await seed_lifelike(played, reports=12)
        yield played


@pytest.fixture(scope="session")
def axe():
    """axe-core's source, by npm, once a checkout."""
    source = CACHE / f"axe-core-{AXE_VERSION}.min.js"
    if not source.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pack = ("npm", "pack", "--silent", f"axe-core@{AXE_VERSION}")
        subprocess.run(pack, cwd=CACHE, check=True, timeout=120)
        archive = CACHE / f"axe-core-{AXE_VERSION}.tgz"
        unpacked = ("tar", "-xzOf", archive, "package/axe.min.js")
        done = subprocess.run(unpacked, check=True, capture_output=True)
        source.write_bytes(done.stdout)
    return source.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser, cloud):
    """await open_page("guests", of=cloud, size="phone", **options of a context) -> its page.

    Whatever the browser complains of (a script that fails, a policy that is broken, a file that is
    missing) fails the test, unless `quiet=False`.
    """
    contexts, complaints = [], []

    async def open_one(view="", of=cloud, quiet=True, size="desktop", **options):
        context = await browser.new_context(viewport=SIZES[size], **options)
        contexts.append(context)
        page = await context.new_page()
        if quiet:
            page.on("console", lambda said: _is_bad(said) and complaints.append(said.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{of.url}/#/{view}")
        if quiet:
            await expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert not complaints, json.dumps(complaints, indent=1)


def _is_bad(said):
    """The page's policy stops Playwright's own `eval`, too, which then finds another way."""
    of_playwright = ("'TrustedScript' assignment", "Evaluating a string as JavaScript")
    return said.type == "error" and not any(words in said.text for words in of_playwright)


@pytest.fixture
def views(cloud):
    """Every view, by name: the path of one that has something to show."""
    host, name, fault_id = cloud.told["lost"]
    return {
        "overview": "",
        "faults": "faults",
        "fault": f"faults/{fault_id}",
        "guests": "guests",
        "guest": f"guests/{host.guests[name].uuid}",
        "hosts": "hosts",
        "host": f"hosts/{host.host}",
        "groups": "groups",
        "group": "groups/amf-north-1",
    }
