"""Real servers from Debian's packages, on free ports, in folders of their own."""
