"""Whoever reads it, however: eyes, keyboard, screen reader, phone, dark room; hostile guests."""

import json

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web")]

# Panels clip what is too wide, and then nothing scrolls.
CUT_OFF = """[...document.querySelectorAll('main *, header *')]
    .filter(node => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1)
    .map(node => node.outerHTML.slice(0, 100))"""
EVIL = "<img src=x onerror=\"window.owned='yes'\"><script>window.owned='yes'</script>"


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_no_view_has_a_serious_finding_of_axe(open_page, views, axe, colours, size):
    page = await open_page(size=size, color_scheme=colours)
    found = {}
    for name, path in views.items():
        await _go(page, path)
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for violation in result["violations"]:
            if violation["impact"] in ("serious", "critical"):
                where = [node["html"][:200] + node["failureSummary"] for node in violation["nodes"]]
                found[f"{name}: {violation['id']}"] = where[:3]
    assert not found, json.dumps(found, indent=1)


async def test_no_view_scrolls_sideways_on_a_phone(open_page, views):
    page = await open_page(size="phone")
    for name, path in views.items():
        await _go(page, path)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, name
        cut_off = await page.evaluate(CUT_OFF)
        assert cut_off == [], name


async def test_colours_follow_the_system_and_the_reader(open_page):
    page = await open_page(color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await page.evaluate(ground)
    await page.get_by_label("Colours").select_option("light")
    light = await page.evaluate(ground)
    assert _brightness(dark) < 60
    assert _brightness(light) > 200
    await page.reload()
    assert await page.evaluate(ground) == light
    await expect(page.get_by_label("Colours")).to_have_value("light")


async def test_nothing_moves_for_who_wants_it_so(open_page):
    page = await open_page(reduced_motion="reduce")
    moving = await page.evaluate("document.getAnimations().length")
    await page.evaluate("document.getElementById('live').dataset.state = 'lost'")
    assert moving == await page.evaluate("document.getAnimations().length") == 0


async def test_the_keyboard_goes_everywhere(open_page, views):
    page = await open_page("guests")
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    links = page.locator("tbody th a")
    await links.first.focus()
    outline = await links.first.evaluate("node => getComputedStyle(node).outlineStyle")
    await page.keyboard.press("ArrowDown")
    await expect(links.nth(1)).to_be_focused()
    assert await links.nth(1).evaluate("node => getComputedStyle(node).outlineStyle") != "none"
    assert outline is not None
    await page.keyboard.press("End")
    await expect(links.last).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("dns")
    await expect(page.locator("tbody tr").first).to_contain_text("dns")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator(".searched")).to_have_count(0)
    await links.nth(2).focus()
    name = await links.nth(2).inner_text()
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text(name)
    await expect(page.locator("h1")).to_be_focused()  # where a screen reader goes on


async def test_a_row_keeps_the_focus_while_news_comes(open_page, cloud):
    page = await open_page("guests?sort=name")
    link = page.locator("tbody th a").nth(4)
    await link.focus()
    name = await link.inner_text()
    host = next(host for host in cloud.hosts.values() if name in host.guests)
    host.change(name, state="paused_by_user")
    await host.report()
    row = page.locator("tbody tr", has=page.get_by_role("link", name=name, exact=True))
    await expect(row).to_contain_text("Excused")
    await expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()


async def test_a_hostile_guest_is_text_and_nothing_else(open_page, cloud):
    host = await cloud.host("compute-evil")
    host.add(EVIL, uuid="evil..%2e?#<b>", health="unhealthy", health_detail=EVIL, note=EVIL)
    await host.report()
    fault_id = await host.raise_fault(EVIL, "unhealthy", EVIL)
    page = await open_page()
    for view in ("", "guests?q=onerror", "faults", f"faults/{fault_id}", "hosts/compute-evil"):
        await _go(page, view)
        await expect(page.get_by_text(EVIL).first).to_be_visible()
    await page.get_by_role("link", name=EVIL).first.click()
    await expect(page.locator("h1")).to_have_text(EVIL)
    await expect(page.locator(".quote")).to_have_text(EVIL)
    assert await page.evaluate("window.owned") is None
    assert await page.locator("main img, main script").count() == 0
    assert EVIL not in await page.evaluate("document.head.innerHTML")
    await page.close()
    await host.clear_fault(fault_id)
    host.guests.clear()
    await host.report()
    await cloud.forget(host)


async def _go(page, view):
    await page.evaluate(
        """async view => {
            const shown = new Promise(done => addEventListener("hashchange", done, {once: true}));
            if (location.hash === "#/" + view) return;
            location.hash = "#/" + view;
            await shown;
        }""",
        view,
    )
    await expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def _brightness(colour):
    return max(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
