"""The cloud at a glance: how each guest, host and group is, in one word; counted; worst first."""
