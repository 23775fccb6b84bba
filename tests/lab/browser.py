"""Debian's Chromium, headless.

Playwright drives it, over the browser's own protocol: it waits for what a test claims, emulates
colours, widths and motion, and needs no driver that must be of the browser's version.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

# A name that points to this machine, as its owner may have any name of his do.
REBOUND = "rebound.example"
# Root may not have Chromium's sandbox; containers have little shared memory.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        try:
            yield browser
        finally:
            await browser.close()
