"""``looker.py driver|pyone|pyone-short|fetch LOOKS``: looks at a cloud's VMs again and again, in a process of its own.

Reads the options from standard input, since one of them is a password.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pyone
import requests

from conpaassql.iaas import opennebula

OWNER = "conpaassql"


def main() -> None:
    """Print the median of the looks, and what they cost."""
    how, looks = sys.argv[1], int(sys.argv[2])
    options = json.load(sys.stdin)
    count = options.pop("vms")
    look = {"driver": _driver, "pyone": _pyone, "pyone-short": _pyone_short, "fetch": _fetch}[how](options)
    began = time.perf_counter()
    assert look() == count or how == "fetch", "not every VM was seen"
    first_s = time.perf_counter() - began
    look()  # by now it has done both what only a first look does and what the others do
    first_mib, taken, cpu_s = _resident_mib(), [], time.process_time()
    for _ in range(looks):
        began = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began)
    found = {
        "seconds": statistics.median(taken),
        "first_s": first_s,
        "cpu_s": (time.process_time() - cpu_s) / looks,
        "growth_mib": max(0.0, _resident_mib() - first_mib),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def _driver(options: dict[str, str]) -> Callable[[], int]:
    driver = opennebula.Driver(options, OWNER)
    return lambda: len(driver.list())


def _pyone(options: dict[str, str]) -> Callable[[], int]:
    """The same facts as anybody would get them: state, address and user attributes of each VM."""
    one = _server(options)

    def look() -> int:
        pool = one.vmpool.infoextended(-3, -1, -1, -1)
        return len([_facts(vm) for vm in pool.VM if vm.USER_TEMPLATE.get("CONPAASSQL_MANAGER") == OWNER])

    return look


def _pyone_short(options: dict[str, str]) -> Callable[[], int]:
    """Fewer facts: in this form nobody sees whose a VM is."""
    one = _server(options)
    return lambda: len([_facts(vm) for vm in one.vmpool.info(-3, -1, -1, -1).VM])


def _server(options: dict[str, str]) -> Any:
    session = f"{options['OPENNEBULA_USER']}:{options['OPENNEBULA_PASSWORD']}"
    return pyone.OneServer(options["OPENNEBULA_URL"], session=session)


def _facts(vm: Any) -> tuple[Any, ...]:
    return vm.ID, vm.NAME, vm.STATE, vm.LCM_STATE, vm.TEMPLATE["NIC"]["IP"], dict(vm.USER_TEMPLATE)


def _fetch(options: dict[str, str]) -> Callable[[], int]:
    """Only fetches the bytes of the short form."""
    session = f"{options['OPENNEBULA_USER']}:{options['OPENNEBULA_PASSWORD']}"
    call = (
        "<methodCall><methodName>one.vmpool.info</methodName><params>"
        f"<param><value>{session}</value></param>"
        + "".join(f"<param><value><i4>{number}</i4></value></param>" for number in (-3, -1, -1, -1))
        + "</params></methodCall>"
    )
    return lambda: len(requests.post(options["OPENNEBULA_URL"], data=call, timeout=60).content)


def _resident_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    main()
