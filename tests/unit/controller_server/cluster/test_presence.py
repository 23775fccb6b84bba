"""Who is lost, and who must not be blamed."""

import pytest

from reachthru.controller_server.cluster.presence import LOOK_S, SETTLE_S, Presence

LIMIT_S = 30.0


class World:
    """Hosts that report each 5 s unless they are dead, on a clock of its own."""

    def __init__(self, count, limit_s=LIMIT_S):
        self.presence = Presence(limit_s)
        self.now = 1000.0
        self.hosts = [f"compute-{n}" for n in range(count)]
        self.dead = set()
        self.echoes = True  # whether an echo comes back
        self.carries = True  # whether agents' reports come through
        self.answers = True  # whether agents answer when they are asked
        self.lost, self.asked, self.lost_at = [], [], {}
        self.suspected = self.cleared = 0
        self.presence.connection(True, self.now)
        self.report()

    def report(self, hosts=None):
        for host in hosts or self.hosts:
            if host not in self.dead and self.carries:
                self.presence.heard(host, self.now)

    def run(self, seconds, step=LOOK_S):
        for _ in range(round(seconds / step)):
            self.now += step
            if round(self.now / step) % round(5 / step) == 0:
                self.report()
            self.look()

    def look(self):
        look = self.presence.look(self.now)
        self.asked += look.ask
        self.lost += look.lost
        self.lost_at.update(dict.fromkeys(look.lost, self.now))
        self.suspected += bool(look.suspected)
        self.cleared += look.cleared
        if look.prove and self.echoes:
            self.presence.carried(self.now)
        if self.answers and look.ask:
            self.report(look.ask)


def test_a_host_that_dies_is_lost_once_after_the_limit():
    world = World(3)
    world.run(60)
    world.dead = {"compute-1"}
    died_at = world.now
    world.run(120)
    assert world.lost == ["compute-1"]
    assert LIMIT_S - 5 <= world.lost_at["compute-1"] - died_at <= LIMIT_S + 1


def test_it_was_asked_before():
    world = World(3)
    world.dead = {"compute-1"}
    world.run(120)
    assert set(world.asked) == {"compute-1"}


def test_a_host_that_is_slow_to_report_and_answers_is_not_lost():
    world = World(3, limit_s=4.0)  # they report each 5 s
    world.run(120)
    assert world.asked
    assert not world.lost


def test_a_host_that_returns_can_be_lost_again():
    world = World(3)
    for _ in range(2):
        world.dead = {"compute-1"}
        world.run(60)
        assert set(world.presence.lost) == {"compute-1"}
        world.dead = set()
        world.run(10)
        assert not world.presence.lost
    assert world.lost == ["compute-1"] * 2


def test_a_goodbye_is_no_loss():
    world = World(3)
    world.dead = {"compute-1"}
    world.presence.left("compute-1")
    world.run(120)
    assert not world.lost


def test_one_of_one_and_two_of_two_are_lost_while_the_echo_returns():
    for count in (1, 2):
        world = World(count)
        world.dead = set(world.hosts)
        world.run(60)
        assert sorted(world.lost) == world.hosts


def test_nobody_is_blamed_while_nothing_comes_through():
    world = World(2)
    world.carries = world.echoes = False
    world.run(600)
    assert not world.lost


def test_a_rack_of_40_among_1000_is_lost_in_time():
    world = World(1000)
    world.run(10)
    world.dead = set(world.hosts[100:140])
    died_at = world.now
    world.run(60)
    assert set(world.lost) == world.dead
    assert max(world.lost_at.values()) - died_at <= LIMIT_S + 1
    assert not world.suspected


def test_a_majority_that_falls_silent_and_returns_is_the_carriers_failure():
    world = World(100)
    world.dead = set(world.hosts[:60])
    world.run(40)
    assert world.suspected == 1
    assert world.presence.suspects_carrier
    back = sorted(world.dead)
    while back:  # a few with each second, and the last ones get their time
        world.dead.discard(back.pop())
        world.run(0.5)
    world.run(60)
    assert world.cleared == 1
    assert not world.lost


def test_a_majority_that_stays_silent_while_the_carrier_carries_is_lost():
    world = World(100)
    world.dead = set(world.hosts[:60])
    world.run(60)
    assert set(world.lost) == world.dead
    assert not world.presence.suspects_carrier


def test_all_of_them_silent_and_no_echo_blames_nobody_until_a_limit_after_there_is_one():
    world = World(10)
    world.dead, world.echoes = set(world.hosts), False
    world.run(300)
    assert not world.lost
    assert world.suspected == 1
    world.echoes = True
    world.run(LIMIT_S - 1)
    assert not world.lost  # whoever is there has the time to come back
    world.run(2 * LIMIT_S)
    assert sorted(world.lost) == world.hosts


def test_a_carrier_that_carries_again_blames_nobody_who_returns_with_it():
    for count in (2, 10):
        world = World(count)
        world.carries = world.echoes = False
        world.run(300)
        world.carries = world.echoes = True
        world.run(300)
        assert not world.lost


def test_silence_while_this_controller_is_not_connected_does_not_count():
    world = World(5)
    world.carries = False
    world.presence.connection(False, world.now)
    world.run(300)
    world.presence.connection(True, world.now)
    world.run(LIMIT_S - 1)
    assert not world.lost
    world.carries = True
    world.run(60)
    assert not world.lost


def test_a_host_that_died_while_we_were_deaf_is_lost_a_limit_after_we_hear_again():
    world = World(5)
    world.presence.connection(False, world.now)
    world.dead = {"compute-1"}
    world.run(300)
    world.presence.connection(True, world.now)
    world.report()
    world.run(LIMIT_S + 1)
    assert world.lost == ["compute-1"]


def test_a_short_limit_still_leaves_agents_the_time_to_reconnect():
    world = World(5, limit_s=2.0)
    world.presence.connection(True, world.now)
    world.carries = False
    world.run(SETTLE_S - 2)
    assert not world.lost


@pytest.mark.parametrize("stopped_s", [5, 40, 3600])
def test_a_controller_that_was_stopped_blames_nobody(stopped_s):
    world = World(5)
    world.run(12)
    world.now += stopped_s
    world.look()  # before anything that came meanwhile is read
    world.report()
    world.run(60)
    assert not world.lost
    assert not world.asked


def test_a_controller_that_is_starved_again_and_again_still_finds_the_dead():
    world = World(3)
    world.dead = {"compute-1"}
    for _ in range(60):
        world.now += 3
        world.report()
        world.look()
        world.run(2)
    assert world.lost == ["compute-1"]


def test_what_another_controller_found_is_not_found_again():
    world = World(3)
    world.dead = {"compute-1"}
    world.presence.found_lost("compute-1")
    world.run(120)
    assert not world.lost
    assert set(world.presence.lost) == {"compute-1"}
    world.presence.found_back("compute-1", world.now)
    world.run(60)
    assert world.lost == ["compute-1"]


def test_hosts_of_an_earlier_controller_are_watched_from_now_on():
    presence = Presence(LIMIT_S)
    presence.load(["compute-0", "compute-1"], ["compute-2"], 0.0)
    presence.connection(True, 0.0)
    presence.look(0.0)
    assert set(presence.lost) == {"compute-2"}
    lost = []
    for tick in range(1, 80):
        now = tick * LOOK_S
        presence.heard("compute-0", now)
        lost += presence.look(now).lost
    assert lost == ["compute-1"]
