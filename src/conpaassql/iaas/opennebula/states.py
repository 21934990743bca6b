"""OpenNebula's 12 states and 72 states of life as states of ours.

A VM that is only about to go off still counts as running: who fences with the power must be able
to trust STOPPED.
Source: the states that a 7.4.0 core went through, and the names in its documentation of states.
"""

from conpaassql.model import VmState

DONE = 6
ACTIVE = 3
POWEROFF = 8
HOLD = 2
PENDING = 1
DISK_RESIZES = (62, 63, 64)

_P, _B, _R, _S = VmState.PENDING, VmState.BOOTING, VmState.RUNNING, VmState.STOPPED
_D, _F, _U = VmState.DELETING, VmState.FAILED, VmState.UNKNOWN

# INIT PENDING HOLD ACTIVE(by life) STOPPED SUSPENDED DONE FAILED POWEROFF UNDEPLOYED CLONING CLONING_FAILURE
STATES = (_P, _P, _P, None, _S, _S, None, _F, _S, _S, _P, _F)

LIVES = (
    *(_B, _B, _B, _R, _R),  # 0 LCM_INIT, PROLOG, BOOT, RUNNING, MIGRATE
    *(_R, _R, _R, _B, _B),  # 5 SAVE_STOP, SAVE_SUSPEND, SAVE_MIGRATE, PROLOG_MIGRATE, PROLOG_RESUME
    *(_S, _D, _D, _D, _F),  # 10 EPILOG_STOP, EPILOG, SHUTDOWN, CANCEL, FAILURE
    *(_B, _U, _R, _R, _B),  # 15 CLEANUP_RESUBMIT, UNKNOWN, HOTPLUG, SHUTDOWN_POWEROFF, BOOT_UNKNOWN
    *(_B, _B, _B, _D, _R),  # 20 BOOT_POWEROFF, BOOT_SUSPENDED, BOOT_STOPPED, CLEANUP_DELETE, HOTPLUG_SNAPSHOT
    *(_R, _R, _S, _S, _R),  # 25 HOTPLUG_NIC, HOTPLUG_SAVEAS, ..._POWEROFF, ..._SUSPENDED, SHUTDOWN_UNDEPLOY
    *(_S, _B, _B, _S, _S),  # 30 EPILOG_UNDEPLOY, PROLOG_UNDEPLOY, BOOT_UNDEPLOY, HOTPLUG_PROLOG_POWEROFF, ..._EPILOG_
    *(_B, _F, _F, _F, _F),  # 35 BOOT_MIGRATE, BOOT_FAILURE, BOOT_MIGRATE_F..., PROLOG_MIGRATE_F..., PROLOG_F...
    *(_F, _F, _F, _S, _F),  # 40 EPILOG_F..., EPILOG_STOP_F..., EPILOG_UNDEPLOY_F..., PROLOG_MIGRATE_POWEROFF, ..._F...
    *(_S, _F, _F, _F, _F),  # 45 PROLOG_MIGRATE_SUSPEND, ..._F..., BOOT_UNDEPLOY_F, BOOT_STOPPED_F, PROLOG_RESUME_F
    *(_F, _S, _S, _S, _S),  # 50 PROLOG_UNDEPLOY_F..., DISK_SNAPSHOT_POWEROFF, ..._REVERT_, ..._DELETE_, ..._SUSPENDED
    *(_S, _S, _R, _R, _R),  # 55 ..._REVERT_SUSPENDED, ..._DELETE_SUSPENDED, DISK_SNAPSHOT, ..._REVERT, ..._DELETE
    *(_U, _F, _R, _S, _S),  # 60 PROLOG_MIGRATE_UNKNOWN, ..._FAILURE, DISK_RESIZE, ..._POWEROFF, ..._UNDEPLOYED
    *(_S, _R, _S, _S, _R),  # 65 HOTPLUG_NIC_POWEROFF, HOTPLUG_RESIZE, HOTPLUG_SAVEAS_UNDEPLOYED, ..._STOPPED, BACKUP
    *(_S, _S),  # 70 BACKUP_POWEROFF, RESTORE
)


def state(number: int, life: int) -> VmState:
    """Return what STATE and LCM_STATE mean; of a number from a later version nobody knows."""
    table, index = (LIVES, life) if number == ACTIVE else (STATES, number)
    found = table[index] if 0 <= index < len(table) else None
    return found or VmState.UNKNOWN


def message(number: int, meant: VmState, scheduler: str, error: str) -> str:
    """Return what is to be said about a VM: why it waits, or why it failed; an error of the past says nothing."""
    if number == HOLD:
        return "The VM is on hold; release it (onevm release)."
    if meant is VmState.PENDING:
        return scheduler
    return error if meant is VmState.FAILED else ""
