"""What the host agent and the controller share to be watched: metrics, logs, traces.

Nothing here decides anything. A failure of whoever watches never hurts what is watched.
"""
