"""The controller: takes faults from host agents, keeps them, and tells whoever must know."""
