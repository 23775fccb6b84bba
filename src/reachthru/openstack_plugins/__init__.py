"""What other services load into their own processes, each from a package of its own here.

A plugin imports its service's library, the standard library and what `reachthru` brings anywhere:
nothing of the controller's dependencies comes into another service's environment.
"""
