"""Who belongs together: server groups, their members, and how those are."""
