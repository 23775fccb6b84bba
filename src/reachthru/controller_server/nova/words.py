"""Which of Nova's notifications say how an instance is, and what each is called to guests.

Guests hear Nova's legacy words (wire contract, section 5), whichever form the notification had.
What is not in these tables says nothing that a server group needs: `*.start`, volumes, snapshots,
audits. `live_migration._post` (versioned: `live_migration_post`) is left out on purpose: the
source sends its end after the destination's, with a picture from before the move.
"""

UPDATE = "compute.instance.update"
DELETED = "compute.instance.delete.end"
CREATING = "compute.instance.create.start"

# Versioned action to legacy action; the ends of each are told to the peers.
_ENDS = {
    "create": "create",
    "delete": "delete",
    "soft_delete": "soft_delete",
    "restore": "restore",
    "power_on": "power_on",
    "power_off": "power_off",
    "pause": "pause",
    "unpause": "unpause",
    "suspend": "suspend",
    "resume": "resume",
    "shutdown": "shutdown",
    "reboot": "reboot",
    "rebuild": "rebuild",
    "rescue": "rescue",
    "unrescue": "unrescue",
    "resize": "resize",
    "resize_finish": "finish_resize",
    "resize_confirm": "resize.confirm",
    "resize_revert": "resize.revert",
    "shelve": "shelve",
    "shelve_offload": "shelve_offload",
    "unshelve": "unshelve",
    "live_migration_post_dest": "live_migration.post.dest",
    "live_migration_rollback": "live_migration._rollback",
}
_ERRORS = ("create", "reboot", "rebuild", "resize")

_VERSIONED = {
    "instance.update": UPDATE,
    "instance.create.start": CREATING,
    "instance.evacuate": "compute.instance.evacuate",
    **{f"instance.{new}.end": f"compute.instance.{old}.end" for new, old in _ENDS.items()},
    **{f"instance.{action}.error": f"compute.instance.{action}.error" for action in _ERRORS},
}
INSTANCE_WORDS = {**_VERSIONED, **{word: word for word in _VERSIONED.values()}}

# Pictures of the moment: they bring facts, and are no end of anything.
QUIET = frozenset({UPDATE, CREATING})

# After these the host in the notification may still be the old one: Nova sets it a moment later.
MOVED = frozenset({"compute.instance.evacuate", "compute.instance.rebuild.end"})

GROUP_WORDS = {
    "server_group.create": "create",
    "server_group.add_member": "add_member",
    "server_group.delete": "delete",
    "servergroup.create": "create",
    "servergroup.addmember": "add_member",
    "servergroup.delete": "delete",
}
