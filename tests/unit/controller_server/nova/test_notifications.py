"""Whose pulses are heard on our queue of Nova's notifications."""

import logging

from reachthru.controller_server.nova import notifications
from reachthru.controller_server.nova.notifications import NotificationListener


def test_another_controller_on_our_queue_is_complained_about_once(monkeypatch, caplog):
    now = [1000.0]
    monkeypatch.setattr(notifications.time, "monotonic", lambda: now[0])
    heard = []
    listener = NotificationListener("rabbit://", "pool", lambda _news: None, heard.append)
    theirs, ours = {"life": "another", "number": 1}, {"life": listener._life, "number": 2}
    with caplog.at_level(logging.ERROR):
        listener._take_pulse(theirs)  # of our own earlier life, it may be
        assert not caplog.messages
        now[0] += notifications.STRANGER_S + 1
        for _ in range(3):
            listener._take_pulse(theirs)
    assert len(caplog.messages) == 1
    assert "notifications_pool" in caplog.messages[0]
    listener._take_pulse(ours)
    assert heard == [2]
