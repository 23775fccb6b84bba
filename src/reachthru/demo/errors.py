"""What can go wrong in the lab: every error is one line for people."""


class DemoError(Exception):
    """One line: what is wrong or missing, and what to do."""
