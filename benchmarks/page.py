"""The page's first view in headless Chromium, with 10,000 guests on 100 hosts.

The controller, its broker and its database are the real ones. The time is from asking for the page
to the first view drawn from the controller's answers; the reference is the same browser's time for
the controller's smallest answer, /healthz.
"""

import asyncio
import statistics
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from benchmarks.results import Result
from lab.browser import chromium
from lab.played_cloud import PlayedCloud, fill_many

HOSTS = 100
GUESTS_EACH = 100
RUNS = 9

_FIRST_VIEW = "performance.getEntriesByName('first-view')[0]?.startTime"
_LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def run() -> list[Result]:
    print(f"page: first view with {HOSTS * GUESTS_EACH} guests ...", flush=True)
    return asyncio.run(_run())


async def _run() -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="reachthru-") as folder:
        async with PlayedCloud(Path(folder)) as cloud, chromium() as browser:
            await fill_many(cloud, HOSTS, GUESTS_EACH)
            views = [await _open(browser, cloud.url, _FIRST_VIEW) for _ in range(RUNS)]
            smallest = [await _open(browser, f"{cloud.url}/healthz", _LOADED) for _ in range(RUNS)]
    view_ms = statistics.median(ms for ms, _bytes in views)
    transferred = max(size for _ms, size in views)
    detail = f"median of {RUNS}, each with an empty cache; {transferred / 1000:.0f} kB transferred"
    reference_ms = statistics.median(ms for ms, _bytes in smallest)
    return [
        Result("page_first_view", view_ms, "ms", reference_ms, detail),
        Result("page_first_view_bytes", transferred, "bytes", detail="of 200,000; compressed"),
    ]


async def _open(browser: Browser, url: str, moment: str) -> tuple[float, float]:
    """Milliseconds until `moment`, and the bytes that came by then."""
    context = await browser.new_context(viewport={"width": 1360, "height": 900})
    page = await context.new_page()
    wire = await context.new_cdp_session(page)
    received: list[float] = []
    wire.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    await wire.send("Network.enable")
    await page.goto(url)
    await page.locator("main[aria-busy=false], pre").wait_for()
    took_ms: float = await page.evaluate(moment)
    await context.close()
    return took_ms, sum(received)
