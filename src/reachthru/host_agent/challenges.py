"""Challenges that nobody can guess, drawn from the kernel's randomness a block at a time."""

import os
from array import array

from reachthru.protocol.messages import CHALLENGE_MAX

_DRAWN_AT_ONCE = 1024


class Challenges:
    """`draw` gives 0..CHALLENGE_MAX, each as likely. A system call for each would cost as much as
    all of a challenge's encoding."""

    def __init__(self) -> None:
        self._numbers = array("I")

    def draw(self) -> int:
        while True:
            if not self._numbers:
                self._numbers.frombytes(os.urandom(self._numbers.itemsize * _DRAWN_AT_ONCE))
            number = self._numbers.pop() & 0x7FFFFFFF
            if number <= CHALLENGE_MAX:
                return number
