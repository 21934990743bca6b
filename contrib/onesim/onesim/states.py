"""STATE and LCM_STATE by name, and which action is allowed where.

Numbers and rules as a 7.4.0 core shows them; states that this simulator never enters are left out.
"""

from __future__ import annotations

from typing import NamedTuple

PENDING, HOLD, ACTIVE, STOPPED, SUSPENDED, DONE = 1, 2, 3, 4, 5, 6
POWEROFF, UNDEPLOYED, CLONING, CLONING_FAILURE = 8, 9, 10, 11

VM_NAMES = {
    0: "INIT",
    1: "PENDING",
    2: "HOLD",
    3: "ACTIVE",
    4: "STOPPED",
    5: "SUSPENDED",
    6: "DONE",
    8: "POWEROFF",
    9: "UNDEPLOYED",
    10: "CLONING",
    11: "CLONING_FAILURE",
}

LCM_NAMES = {
    0: "LCM_INIT",
    1: "PROLOG",
    2: "BOOT",
    3: "RUNNING",
    4: "MIGRATE",
    5: "SAVE_STOP",
    6: "SAVE_SUSPEND",
    7: "SAVE_MIGRATE",
    8: "PROLOG_MIGRATE",
    9: "PROLOG_RESUME",
    10: "EPILOG_STOP",
    11: "EPILOG",
    12: "SHUTDOWN",
    16: "UNKNOWN",
    17: "HOTPLUG",
    18: "SHUTDOWN_POWEROFF",
    20: "BOOT_POWEROFF",
    21: "BOOT_SUSPENDED",
    22: "BOOT_STOPPED",
    24: "HOTPLUG_SNAPSHOT",
    25: "HOTPLUG_NIC",
    26: "HOTPLUG_SAVEAS",
    27: "HOTPLUG_SAVEAS_POWEROFF",
    29: "SHUTDOWN_UNDEPLOY",
    30: "EPILOG_UNDEPLOY",
    31: "PROLOG_UNDEPLOY",
    32: "BOOT_UNDEPLOY",
    33: "HOTPLUG_PROLOG_POWEROFF",
    34: "HOTPLUG_EPILOG_POWEROFF",
    35: "BOOT_MIGRATE",
    36: "BOOT_FAILURE",
    39: "PROLOG_FAILURE",
    51: "DISK_SNAPSHOT_POWEROFF",
    52: "DISK_SNAPSHOT_REVERT_POWEROFF",
    53: "DISK_SNAPSHOT_DELETE_POWEROFF",
    57: "DISK_SNAPSHOT",
    62: "DISK_RESIZE",
    63: "DISK_RESIZE_POWEROFF",
    66: "HOTPLUG_RESIZE",
}
PROLOG, BOOT, RUNNING, UNKNOWN = 1, 2, 3, 16
BOOT_FAILURE, PROLOG_FAILURE = 36, 39
FAILURES = (BOOT_FAILURE, PROLOG_FAILURE)


class At(NamedTuple):
    """A place in the life of a VM."""

    state: int
    lcm: int = 0


UP = At(ACTIVE, RUNNING)
LOST = At(ACTIVE, UNKNOWN)
OFF = At(POWEROFF)
AWAITING = At(PENDING)
HELD = At(HOLD)

# Where an action may be asked for; terminate has rules of its own.
ALLOWED: dict[str, frozenset[At]] = {
    "resume": frozenset({At(STOPPED), At(SUSPENDED), OFF, At(UNDEPLOYED), LOST}),
    "poweroff": frozenset({UP, LOST, At(ACTIVE, 18)}),
    "poweroff-hard": frozenset({UP, LOST, At(ACTIVE, 18)}),
    "suspend": frozenset({UP}),
    "reboot": frozenset({UP}),
    "reboot-hard": frozenset({UP}),
    "stop": frozenset({UP, At(SUSPENDED)}),
    "undeploy": frozenset({UP, LOST, OFF}),
    "undeploy-hard": frozenset({UP, LOST, OFF}),
    "hold": frozenset({AWAITING}),
    "release": frozenset({HELD}),
    "resched": frozenset({OFF, UP, LOST}),
    "unresched": frozenset({OFF, UP, LOST}),
}
AT_ONCE = frozenset({AWAITING, HELD, At(CLONING_FAILURE)})
WITHOUT_SHUTDOWN = frozenset({OFF, At(UNDEPLOYED), At(STOPPED), At(SUSPENDED)}) | {At(ACTIVE, f) for f in FAILURES}
DEPLOYABLE = frozenset({AWAITING, HELD, At(STOPPED), At(UNDEPLOYED)})


def name(at: At) -> str:
    """Return the word that the core uses in its sentences: the LCM state's while ACTIVE, else the state's."""
    names, number = (LCM_NAMES, at.lcm) if at.state == ACTIVE else (VM_NAMES, at.state)
    return names.get(number, str(number))


class Leg(NamedTuple):
    """One stretch of a VM's way: enter ``at`` after ``work`` has been done, stay there for ``stay_s`` real seconds."""

    at: At
    stay_s: float = 0.0
    work: str = ""


def _way(*legs: tuple[int, int, float, str]) -> tuple[Leg, ...]:
    return tuple(Leg(At(state, lcm), stay_s, work) for state, lcm, stay_s, work in legs)


# Durations are those seen with a core whose hypervisor answers within a second.
WAYS: dict[str, tuple[Leg, ...]] = {
    "deploy": _way((3, 0, 0.05, ""), (3, 1, 0.5, ""), (3, 2, 1.0, "prolog"), (3, 3, 0, "boot")),
    "retry": _way((3, 2, 1.0, ""), (3, 3, 0, "boot")),
    "poweroff": _way((3, 18, 1.0, ""), (8, 0, 0, "off")),
    "resume-poweroff": _way((3, 20, 1.0, ""), (3, 3, 0, "boot")),
    "suspend": _way((3, 6, 1.0, ""), (5, 0, 0, "off")),
    "resume-suspended": _way((3, 21, 1.0, ""), (3, 3, 0, "boot")),
    "stop": _way((3, 5, 1.0, ""), (3, 10, 1.0, "off"), (4, 0, 0, "")),
    "resume-stopped": _way((3, 0, 0.05, ""), (3, 9, 1.0, ""), (3, 22, 1.0, ""), (3, 3, 0, "boot")),
    "undeploy": _way((3, 29, 1.0, ""), (3, 30, 1.0, "off"), (9, 0, 0, "")),
    "undeploy-off": _way((3, 30, 1.0, ""), (9, 0, 0, "")),
    "resume-undeployed": _way((3, 0, 0.05, ""), (3, 31, 1.0, ""), (3, 32, 1.0, ""), (3, 3, 0, "boot")),
    "terminate": _way((3, 12, 1.0, ""), (3, 11, 1.0, "off"), (6, 0, 0, "destroy")),
    "terminate-off": _way((3, 11, 1.0, ""), (6, 0, 0, "destroy")),
    "terminate-now": _way((6, 0, 0, "destroy")),
    "reboot": _way((3, 3, 0, ""), (3, 3, 0, "off"), (3, 3, 0, "boot")),
    "migrate-live": _way((3, 4, 2.0, ""), (3, 3, 0, "")),
    "migrate": _way((3, 7, 1.0, ""), (3, 8, 1.0, ""), (3, 35, 1.0, ""), (3, 3, 0, "")),
    "migrate-off": _way((3, 8, 1.0, ""), (8, 0, 0, "")),
    "hotplug": _way((3, 17, 1.0, ""), (3, 3, 0, "")),
    "hotplug-off": _way((3, 33, 1.0, ""), (8, 0, 0, "")),
    "hotplug-nic": _way((3, 25, 1.0, ""), (3, 3, 0, "")),
    "snapshot": _way((3, 24, 1.0, ""), (3, 3, 0, "")),
    "saveas": _way((3, 26, 1.0, ""), (3, 3, 0, "saved")),
    "saveas-off": _way((3, 27, 1.0, ""), (8, 0, 0, "saved")),
    "disk-snapshot": _way((3, 57, 1.0, ""), (3, 3, 0, "")),
    "disk-snapshot-off": _way((3, 51, 1.0, ""), (8, 0, 0, "")),
    "disk-revert-off": _way((3, 52, 1.0, ""), (8, 0, 0, "")),
    "disk-delete-off": _way((3, 53, 1.0, ""), (8, 0, 0, "")),
    "disk-resize": _way((3, 62, 1.0, ""), (3, 3, 0, "")),
    "disk-resize-off": _way((3, 63, 1.0, ""), (8, 0, 0, "")),
    "resize": _way((3, 66, 1.0, ""), (3, 3, 0, "")),
}
