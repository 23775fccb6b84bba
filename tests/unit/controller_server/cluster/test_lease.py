"""Who leads, and until when."""

from reachthru.controller_server.cluster.lease import Lease
from reachthru.controller_server.store.leases import LEADER_TTL_S


def test_nobody_leads_before_it_was_granted():
    assert not Lease().leads(0.0)


def test_a_leader_stops_before_the_lease_could_be_anothers():
    lease = Lease()
    lease.granted(asked_at=10.0)  # and answered later, whenever that was
    assert lease.leads(10.0 + LEADER_TTL_S - 0.001)
    assert not lease.leads(10.0 + LEADER_TTL_S)


def test_each_renewal_lasts_from_when_it_was_asked_for():
    lease = Lease()
    lease.granted(asked_at=10.0)
    lease.granted(asked_at=11.0)
    assert lease.leads(13.9)
    assert not lease.leads(14.0)


def test_an_answer_that_was_overtaken_takes_nothing_away():
    lease = Lease()
    lease.granted(asked_at=11.0)
    lease.granted(asked_at=10.0)
    assert lease.leads(13.9)


def test_a_refusal_ends_it_at_once():
    lease = Lease()
    lease.granted(asked_at=10.0)
    lease.refused()
    assert not lease.leads(10.0)
