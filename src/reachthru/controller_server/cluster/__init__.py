"""Several controllers as one: who leads, who heard what, and which host is lost."""
