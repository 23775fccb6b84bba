"""10,000 guests are as easy to look at as ten."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from lab.played_cloud import PlayedCloud, fill_many

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def many(tmp_path_factory):
    async with PlayedCloud(tmp_path_factory.mktemp("many")) as cloud:
        await fill_many(cloud, hosts=100, guests_each=100)
        yield cloud


async def test_the_first_view_is_less_than_200_kilobytes(open_page, many, browser):
    context = await browser.new_context()
    page = await context.new_page()
    wire = await context.new_cdp_session(page)
    received = []
    wire.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    await wire.send("Network.enable")
    await page.goto(many.url)
    await expect(page.locator("h1")).to_have_text("20 guests failing")
    await expect(page.get_by_role("region", name="Guests")).to_contain_text("10,000")
    assert await page.evaluate("performance.getEntriesByName('first-view').length") == 1
    assert len(received) > 20 and sum(received) < 200_000, sum(received)
    await context.close()


async def test_any_of_them_is_found_and_every_page_is_reached(open_page, many):
    page = await open_page("guests", of=many)
    await expect(page.locator("tbody tr")).to_have_count(50)
    await expect(page.locator("tbody tr").first).to_contain_text("Failing")
    await expect(page.get_by_role("navigation", name="Pages")).to_contain_text("1–50 of 10,000")
    await page.get_by_role("link", name="Next").click()
    await expect(page.get_by_role("navigation", name="Pages")).to_contain_text("51–100 of 10,000")
    await page.get_by_role("searchbox").fill("guest-077-042")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody th")).to_have_text("guest-077-042")
    await page.goto(f"{many.url}/#/guests?offset=9950&sort=name")
    await expect(page.locator("tbody th").last).to_have_text("guest-099-099")


async def test_a_fault_among_them_is_seen(open_page, many):
    page = await open_page("guests?verdict=failing", of=many)
    await expect(page.locator("tbody tr")).to_have_count(20)
    await many.hosts["compute-050"].raise_fault("guest-050-050")
    await expect(page.locator("tbody tr")).to_have_count(21)
