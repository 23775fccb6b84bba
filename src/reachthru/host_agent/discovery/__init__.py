"""Finds instances and their ports: one base, one driver a file or folder."""
