"""What Prometheus may ask: bounded, whatever agents say."""

from reachthru.controller_server.metrics import LOSS_SENDERS_LIMIT, Metrics


def losses(metrics):
    text = metrics.render({}).decode()
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return {
        name.split('sender="')[1].split('"')[0]: float(value)
        for name, _space, value in lines
        if name.startswith("reachthru_group_agent_losses{")
    }


def test_those_who_lost_most_are_named_and_the_rest_is_summed_up():
    metrics = Metrics()
    totals = {f"vm-{number}": {"stale": number} for number in range(1, 101)}
    metrics.agent_group_losses("compute-0", totals, full=True)
    shown = losses(metrics)
    assert len(shown) == LOSS_SENDERS_LIMIT + 1
    assert shown["vm-100"] == 100
    assert sum(shown.values()) == sum(range(1, 101))


def test_guests_that_are_gone_leave_no_series_behind():
    metrics = Metrics()
    metrics.agent_group_losses("compute-0", {"a": {"stale": 1}, "b": {"rate": 2}}, full=True)
    metrics.agent_group_losses("compute-0", {"b": {"rate": 3}}, full=False)
    assert losses(metrics) == {"a": 1, "b": 3}
    metrics.agent_group_losses("compute-0", {"c": {"stale": 4}}, full=True)  # it was restarted
    assert losses(metrics) == {"c": 4}
