"""The heartbeat application's two ends (wire contract, section 4).

Both are cores: `receive` feeds a parsed message, `deadline` says when the core wants to be
woken, `wake` says that the moment has come, `take_output` gives messages to write and
`take_events` what the shell should know. `now` is absolute monotonic seconds. Transitions are
one table, (state, input) to (state, action); a pair that is not in it is the peer's error and
becomes an event.
"""
