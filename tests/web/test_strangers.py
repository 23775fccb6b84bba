"""What another's page can do to a controller that asks for no token: a real browser shows it."""

import asyncio
import contextlib

import httpx
import pytest
from playwright.async_api import expect

from lab.browser import REBOUND

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web")]

# Of the requests that a page may send without asking (no CORS preflight), what comes nearest.
START_WINDOW = """([url, host]) => fetch(`${url}/v1/maintenance`, {
    method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"},
    body: JSON.stringify({for_s: 60, host}),
}).then(answer => answer.status)"""


@contextlib.asynccontextmanager
async def another_site():
    """Its port: an empty page."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<title>cats</title>")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def windows(cloud):
    async with httpx.AsyncClient(base_url=cloud.url) as client:
        return (await client.get("/v1/maintenance")).json()["maintenance"]


async def test_a_name_that_is_made_to_point_here_shows_nothing(browser, cloud):
    port = cloud.controller.api_port
    page = await browser.new_page()
    answer = await page.goto(f"http://{REBOUND}:{port}/")
    assert answer.status == 421
    assert "allowed_hosts" in await page.content()
    seen = await page.evaluate("fetch('/v1/instances').then(answer => answer.text())")
    assert "allowed_hosts" in seen and "uuid" not in seen
    sent = await page.evaluate(START_WINDOW, [f"http://{REBOUND}:{port}", next(iter(cloud.hosts))])
    assert sent == 421
    assert await windows(cloud) == []
    await page.close()


@pytest.mark.parametrize("name", [REBOUND, "127.0.0.1", "localhost"])
async def test_another_sites_page_changes_nothing(browser, cloud, name):
    page = await browser.new_page()
    async with another_site() as port:
        await page.goto(f"http://{name}:{port}/")
        await page.evaluate(START_WINDOW, [cloud.url, next(iter(cloud.hosts))])
    assert await windows(cloud) == []
    await page.close()


async def test_our_own_page_may(browser, cloud):
    """So that the tests above say something."""
    page = await browser.new_page()
    await page.goto(f"{cloud.url}/")
    await expect(page.locator("#live")).to_have_text("Live")
    assert await page.evaluate(START_WINDOW, [cloud.url, next(iter(cloud.hosts))]) == 201
    async with httpx.AsyncClient(base_url=cloud.url) as client:
        (window,) = await windows(cloud)
        assert (await client.delete(f"/v1/maintenance/{window['id']}")).status_code == 200
    await page.close()
