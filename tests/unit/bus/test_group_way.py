"""Group messages take the way that some controller listens at."""

from reachthru.bus.oslo.group_way import SILENCE_S, GroupWay


def told(way, *, own_queue):
    way.ask(0.0)
    way.answered(own_queue=own_queue)
    return way


def test_the_work_carries_them_until_a_controller_says_that_it_takes_them_apart():
    way = GroupWay()
    assert not way.ask(0.0)
    way.answered(own_queue=False)  # an older controller
    assert not way.ask(0.1)
    way.answered(own_queue=True)
    assert way.ask(0.2)


def test_where_nobody_answers_the_next_ones_go_with_the_work_again():
    way = told(GroupWay(), own_queue=True)
    assert way.ask(10.0)
    assert way.ask(10.0 + SILENCE_S / 2)
    assert not way.ask(10.1 + SILENCE_S)
    assert not way.ask(10.2 + SILENCE_S)
    way.answered(own_queue=True)
    assert way.ask(10.3 + SILENCE_S)


def test_an_answer_keeps_them_apart_however_rarely_they_come():
    way = told(GroupWay(), own_queue=True)
    for minute in range(1, 5):
        assert way.ask(minute * 60.0)
        way.answered()  # to a query: it says nothing of queues
    assert way.ask(600.0)
