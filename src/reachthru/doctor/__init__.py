"""`reachthru doctor`: looks at an installation, says what is wrong and how to mend it.

A check is a function that gives findings; each part of an installation (guest, host, controller)
has a table of them. What judges is pure; what looks is in `machine`, and in the parts themselves.
"""
