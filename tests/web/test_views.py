"""What an operator sees in each view, and that it changes while it is looked at."""

import re

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web")]


def row(page, text):
    return page.locator("tbody tr", has_text=text)


async def test_the_overview_says_what_is_wrong_the_worst_first(open_page, cloud):
    page = await open_page()
    await expect(page).to_have_title("Overview – reachthru")
    await expect(page.locator("h1")).to_contain_text(re.compile(r"\d guests? failing"))
    open_faults = page.locator("section", has_text="Open faults").locator("tbody tr")
    for host, name, _id in (cloud.told["lost"], cloud.told["gone"], cloud.told["unhealthy"]):
        await expect(open_faults.filter(has_text=name)).to_contain_text(host.host)
    severities = await open_faults.locator("td:nth-child(2)").all_inner_texts()
    order = ["Critical", "Major", "Warning"]
    assert [order.index(text.strip()) for text in severities] == sorted(
        order.index(text.strip()) for text in severities
    )
    await expect(page.get_by_role("region", name="Hosts").first).to_contain_text("24 hosts")


async def test_a_fault_appears_and_goes_without_a_reload(open_page, cloud):
    page = await open_page()
    await expect(page.locator("#live")).to_have_text("Live")
    await page.evaluate("window.notReloaded = true")
    host = cloud.hosts["compute-09"]
    name = list(host.guests)[3]
    fault_id = await host.raise_fault(name, "heartbeat_lost")
    found = page.locator(f"a[href='#/faults/{fault_id}']")
    await expect(found).to_be_visible()
    await expect(page.locator("[aria-live]")).to_have_text(f"New fault: Heartbeat lost, {name}.")
    await host.clear_fault(fault_id)
    cleared = page.locator("section.panel", has_text="Cleared lately")
    await expect(cleared.locator(f"a[href='#/faults/{fault_id}']")).to_be_visible()
    assert await page.evaluate("window.notReloaded")


async def test_a_guest_shows_its_round_trips_its_health_and_what_befell_it(open_page, cloud):
    host, name, fault_id = cloud.told["unhealthy"]
    page = await open_page(f"guests/{host.guests[name].uuid}")
    await expect(page.locator("h1")).to_have_text(name)
    spark = page.get_by_role("img", name=re.compile(r"Slowest answers in 1[2-9] reports: last"))
    await expect(spark).to_be_visible()
    await expect(page.locator("figcaption")).to_contain_text(re.compile(r"median [\d.]+ ms"))
    said = page.locator("section", has_text="It says that it is unhealthy")
    await expect(said.first).to_contain_text("check db: connection refused on 10.0.4.17:5432")
    await expect(row(page, "Unhealthy")).to_contain_text("Open")
    await row(page, "Unhealthy").get_by_role("link", name="Unhealthy").click()
    await expect(page).to_have_url(re.compile(fault_id))


async def test_a_fault_shows_its_way_and_who_was_told(open_page, cloud):
    _host, _name, fault_id = cloud.told["lost"]
    page = await open_page(f"faults/{fault_id}")
    await expect(page.locator("h1")).to_have_text("Heartbeat lost")
    stages = page.locator(".timeline .stage")
    await expect(stages.first).to_have_text("The last good answer")
    assert (await stages.all_inner_texts())[1:6] == [
        "An answer was due",
        "Detected by the host agent",
        "Durable at the host agent",
        "Arrived at a controller",
        "Durable in the database",
    ]
    await expect(row(page, "log")).to_contain_text("Told")
    webhook = row(page, "webhook")
    await expect(webhook).to_contain_text("Trying again")
    await expect(webhook).to_contain_text("503 Service Unavailable")
    before = int(await webhook.locator("td").nth(1).inner_text())
    await expect(webhook.locator("td").nth(1)).not_to_have_text(str(before))  # it goes on, live


async def test_a_cleared_fault_shows_both_its_changes(open_page, cloud):
    host = cloud.hosts["compute-10"]
    fault_id = await host.raise_fault(next(iter(host.guests)), "unhealthy", "check a: too hot")
    await host.clear_fault(fault_id, "the guest says that it is healthy")
    page = await open_page(f"faults/{fault_id}")
    await expect(page.locator(".badges")).to_contain_text("Cleared")
    await expect(page.locator("h2")).to_have_text(["Facts", "Cleared", "Raised"])
    facts = page.locator("dl")
    await expect(facts).to_contain_text("check a: too hot")
    await expect(facts).to_contain_text("the guest says that it is healthy")


async def test_a_fault_in_a_maintenance_window_says_so_and_is_told_after_it(open_page, cloud):
    host = cloud.hosts["compute-14"]
    window = await cloud.controller.call("POST", "/v1/maintenance", host=host.host, for_s=600)
    fault_id = await host.raise_fault(next(iter(host.guests)), "unhealthy", "check a: too hot")
    page = await open_page(f"faults/{fault_id}")
    await expect(row(page, "webhook")).to_contain_text("In maintenance")
    await expect(page.locator("dl")).to_contain_text(window["id"])
    await cloud.controller.call("DELETE", f"/v1/maintenance/{window['id']}")
    await expect(row(page, "webhook")).to_contain_text("Told")  # without a reload
    await host.clear_fault(fault_id)


async def test_a_host_shows_its_agent_and_its_guests(open_page, cloud):
    host, name, _id = cloud.told["lost"]
    page = await open_page(f"hosts/{host.host}")
    await expect(page.locator("dl")).to_contain_text("Online, version 0.2.0")
    guests = page.locator("section", has=page.get_by_role("heading", name="Guests")).last
    await expect(guests.locator("tbody tr").first).to_contain_text(name)
    await expect(guests.locator("tbody tr")).to_have_count(len(host.guests))


async def test_a_group_shows_its_members_the_worst_first(open_page, cloud):
    host, name, _id = cloud.told["gone"]
    page = await open_page(f"guests/{host.guests[name].uuid}")
    await page.locator("dl").get_by_role("link", name=re.compile(name.rpartition("-")[0])).click()
    await expect(page.locator(".kind")).to_have_text("Group")
    members = page.locator("tbody tr")
    await expect(members.first).to_contain_text(name)
    await expect(members.first).to_contain_text("Failing")
    await expect(members.first).to_contain_text("Error")  # what its peers are told
    await expect(page.locator("dl")).to_contain_text(re.compile(r"\d members? on \d hosts?"))


async def test_a_list_is_filtered_sorted_and_searched(open_page, cloud):
    page = await open_page("guests")
    chips = page.get_by_role("list", name="Guests by state")
    await chips.get_by_role("link", name="Unwatched").click()
    await expect(page.locator("tbody tr")).to_have_count(5)
    await expect(page.locator("tbody tr").first).to_contain_text("it has no port")
    await chips.get_by_role("link", name="All").click()
    await expect(page.locator("tbody tr")).not_to_have_count(5)
    await page.get_by_role("columnheader", name="Guest").get_by_role("link").click()
    await expect(page.get_by_role("columnheader", name="Guest")).to_have_attribute(
        "aria-sort", "ascending"
    )
    await expect(page.locator("tbody tr").first).to_contain_text("amf-north-1")
    await page.get_by_role("searchbox").fill("UPF-north-1")
    await expect(page.locator("tbody tr").first).to_contain_text("upf-north-1")
    names = await page.locator("tbody th").all_inner_texts()
    assert all(name.startswith("upf-north-1") for name in names)
    link = page.url
    again = await open_page(link.partition("#/")[2])  # the same, sent to a colleague
    await expect(again.locator("tbody th")).to_have_text(names)


async def test_faults_can_be_read_to_the_oldest(open_page, cloud):
    page = await open_page("faults?active=false")
    await expect(page.locator("tbody tr").first).to_contain_text("Cleared")
    await expect(page.locator("tbody")).not_to_contain_text("Open")
    await page.get_by_role("link", name="Open", exact=True).click()
    await expect(page.locator("tbody tr", has_text="Cleared")).to_have_count(0)


async def test_what_is_not_there_is_said(open_page):
    page = await open_page("groups/nobody", quiet=False)
    await expect(page.get_by_role("alert")).to_have_text("no server group nobody")
    await page.goto(page.url.replace("groups/nobody", "guests/nobody"))
    await expect(page.locator("main")).to_contain_text("No host carries it now.")
    await page.goto(page.url.replace("guests/nobody", "nonsense"))
    await expect(page.locator("h1")).to_have_text("There is no such view")
