"""Why an agent can't start."""


class StartError(Exception):
    """The agent can't start; one line for the operator. Exit with 1."""
