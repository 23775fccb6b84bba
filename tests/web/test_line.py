"""The line to the controller: it restarts, wants a token; who follows it misses nothing."""

import asyncio
import gzip
import json

import httpx
import pytest
from playwright.async_api import expect

from lab.played_cloud import PlayedCloud

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web")]


async def test_a_controller_that_restarts_is_found_again(open_page, tmp_path):
    async with PlayedCloud(tmp_path) as cloud:
        host = await cloud.host("compute-1")
        host.add("db-1")
        await host.report()
        page = await open_page(of=cloud, quiet=False)
        await expect(page.locator("#live")).to_have_text("Live")
        await page.evaluate("window.notReloaded = true")
        await cloud.controller.kill()
        await expect(page.locator("#live")).to_have_text("Reconnecting")
        await expect(page.locator("h1")).to_be_visible()  # what was known stays
        await cloud.controller.start()
        await host.raise_fault("db-1")
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("h1")).to_have_text("1 guest failing")
        await expect(page.locator("#notice")).to_have_count(0)
        assert await page.evaluate("window.notReloaded")


async def test_a_token_is_asked_for_kept_and_forgotten(open_page, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("the-right-one\n")
    tokens.chmod(0o600)
    async with PlayedCloud(tmp_path, f"auth = token\nreader_token_file = {tokens}\n") as cloud:
        page = await open_page(of=cloud, quiet=False)
        await expect(page.get_by_label("Token")).to_be_focused()
        await page.keyboard.type("a-wrong-one")
        await page.keyboard.press("Enter")
        await expect(page.locator("form.ask")).to_contain_text("the token is wrong or has expired")
        await page.get_by_label("Token").fill("the-right-one")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("No host agent has reported a guest yet")
        await expect(page.locator("#live")).to_have_text("Live")  # the stream has the token, too
        await page.reload()
        await expect(page.locator("#live")).to_have_text("Live")
        assert "the-right-one" not in page.url + await page.content()
        await page.get_by_role("button", name="Forget token").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})") == "{}"
        tokens.write_text("another\n")


async def test_the_browser_runs_nothing_that_is_not_ours(open_page):
    page = await open_page(quiet=False)
    blocked = await page.evaluate(
        """async () => {
            const found = [];
            const script = document.createElement("script");
            try { script.textContent = "window.owned = 1"; } catch { found.push("trusted"); }
            document.body.append(script);
            try { document.body.innerHTML += "<b>x</b>"; } catch { found.push("markup"); }
            await fetch("https://example.com/").catch(() => found.push("elsewhere"));
            return [found, window.owned];
        }"""
    )
    assert blocked[1] is None
    assert {"markup", "elsewhere"} <= set(blocked[0])


async def test_files_are_small_checked_and_not_sent_twice(cloud):
    async with httpx.AsyncClient(base_url=cloud.url) as client:
        first = await client.get("/")
        assert first.headers["content-encoding"] == "gzip"
        assert "'unsafe" not in first.headers["content-security-policy"]
        again = await client.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "<script>" not in first.text and " style=" not in first.text
        plain = await client.get("/web/app.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["content-type"].startswith("text/javascript")
        assert len(gzip.compress(plain.content)) < 20_000


async def test_who_follows_again_is_told_what_it_has_missed(cloud):
    host = cloud.hosts["compute-12"]
    name = list(host.guests)[5]
    async with httpx.AsyncClient(base_url=cloud.url, timeout=20) as client:
        _kind, _data, last_id = await anext(_events(client))
        fault_id = await host.raise_fault(name, "unhealthy")
        await host.clear_fault(fault_id)
        heard = _events(client, last_id)
        changes = []
        async with asyncio.timeout(20):
            while len(changes) < 2:
                kind, data, _id = await anext(heard)
                assert kind != "resync"
                if kind == "fault" and data["id"] == fault_id:
                    changes.append(data["status"])
        assert changes == ["raised", "cleared"]
        assert (await anext(_events(client, "of-another-life.7")))[0] in (None, "resync")


async def test_many_follow_at_once_and_each_hears_it(cloud):
    host = cloud.hosts["compute-13"]
    name = list(host.guests)[5]
    limits = httpx.Limits(max_connections=60)
    async with httpx.AsyncClient(base_url=cloud.url, timeout=30, limits=limits) as client:
        following = [_events(client) for _ in range(60)]
        await asyncio.gather(*(anext(one) for one in following))
        fault_id = await host.raise_fault(name, "unhealthy")

        async def hears(one):
            while (event := await anext(one))[0] != "fault" or event[1]["id"] != fault_id:
                pass

        async with asyncio.timeout(30):
            await asyncio.gather(*map(hears, following))
    await host.clear_fault(fault_id)


async def _events(client, last_id=None):
    """(kind, object, id) of each event; kind None: the greeting, which has an id only."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client.stream("GET", "/v1/events", headers=headers) as answer:
        fields = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
                continue
            if "id" in fields or "event" in fields:
                yield fields.get("event"), json.loads(fields.get("data", "null")), fields.get("id")
            fields = {}
