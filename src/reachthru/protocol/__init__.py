"""What every part of the system agrees on: pure code, with no IO, clock, randomness or logging."""
