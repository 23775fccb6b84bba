"""The REST API, version 1."""

from reachthru.controller_server.rest.app import rest_app

__all__ = ["rest_app"]
