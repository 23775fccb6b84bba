"""Tables, colours and live lists on a real terminal."""

import pytest

from integration.operator.conftest import Terminal
from lab.controllers import Agent


@pytest.fixture
async def cloud(controllers, broker, sqlite):
    """(a controller, an agent that has reported two instances)"""
    (controller,) = await controllers(sqlite)
    async with Agent(broker.url, "compute-0", ["u1", "u2"]) as agent:
        while len((await controller.get("/v1/instances"))["instances"]) < 2:
            await agent.report()
        yield controller, agent


def url_of(controller):
    return f"http://127.0.0.1:{controller.api_port}"


async def test_a_list_is_coloured_and_fits(cloud):
    controller, _agent = cloud
    with Terminal("instances", "--url", url_of(controller), columns=60) as terminal:
        assert await terminal.ended() == 0
    assert "\x1b[32mrunning" in terminal.raw
    assert [line for line in terminal.text.splitlines() if len(line) > 60] == []
    assert "interval_ms" not in terminal.text  # what can be spared goes first
    for text in ("name", "compute-0", "health"):
        assert text in terminal.text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_no_colour_for_whom_wants_none(cloud, environment):
    controller, _agent = cloud
    with Terminal("hosts", "--url", url_of(controller), **environment) as terminal:
        assert await terminal.ended() == 0
    assert "compute-0" in terminal.text
    assert "\x1b[3" not in terminal.raw


async def test_a_live_list_goes_on_over_a_restart_and_gives_the_screen_back(cloud):
    controller, agent = cloud
    with Terminal("faults", "--watch", "--url", url_of(controller)) as terminal:
        await terminal.shows("0 faults", "live")
        agent.change("u1", "raised")
        await terminal.shows("1 faults", "heartbeat_lost")
        await controller.kill()
        await terminal.shows("trying again")
        await controller.start()
        await terminal.shows("1 faults", "live")
        agent.change("u1", "cleared")
        await terminal.shows("cleared", "ago")
        terminal.press_ctrl_c()
        assert await terminal.ended() == 0
    assert terminal.raw.count("\x1b[?1049h") == 1
    assert terminal.raw.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l"))
    assert "Traceback" not in terminal.text


async def test_nobody_there_is_one_line_that_says_what_to_set():
    with Terminal("instances", "--watch", "--url", "http://127.0.0.1:1", columns=200) as terminal:
        assert await terminal.ended() == 1
    (line,) = terminal.text.strip().splitlines()
    assert "http://127.0.0.1:1" in line
    assert "$REACHTHRU_URL" in line
