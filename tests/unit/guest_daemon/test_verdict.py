from reachthru.guest_daemon.verdict import Verdict, judge


def test_no_problem_is_healthy_and_says_nothing():
    assert judge([]) == Verdict(True, "")


def test_the_first_problem_is_told_and_the_others_counted():
    assert judge(["a"]) == Verdict(False, "a")
    assert judge(["a", "b", "c"]) == Verdict(False, "a (+2 more)")


def test_a_long_text_leaves_room_for_the_count():
    verdict = judge(["é" * 300, "b"])
    assert verdict.log_msg.endswith("é (+1 more)")
    assert 222 <= len(verdict.log_msg.encode()) <= 224
