"""`make bench`: figures with their references, measured side by side in one run."""
