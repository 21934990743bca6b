"""What must be right on this machine before VMs can live on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from conpaassql import loopback
from conpaassql.errors import Error, IaasError
from conpaassql.iaas import VmSpec
from conpaassql.iaas.local import snapshots, wanted
from conpaassql.iaas.local.place import Place
from conpaassql.offers import Finding

_PROGRAMS = ("sh", "setsid", "sleep", "cp", "rm")
_NODE_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb-backup", "mbstream")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def findings(place: Place, spec: VmSpec) -> Iterator[Finding]:
    """Yield what is right and wrong; nothing is changed."""
    root = _root(place)
    yield root
    if root.fatal:
        return
    yield _space(place, spec)
    yield _programs(spec)
    yield _script(place, spec)
    yield _addresses(place)
    yield _image(place, spec)
    yield from _wishes(place, spec)


def _root(place: Place) -> Finding:
    if not os.access(place.vms, os.R_OK | os.W_OK | os.X_OK):
        cure = "Give this user the directory, or name another one as LOCAL_ROOT."
        return Finding(code="root", ok=False, says=f"{place.vms} cannot be written.", cure=cure, fatal=True)
    return Finding(code="root", ok=True, says=f"{place.vms} can be written.")


def _space(place: Place, spec: VmSpec) -> Finding:
    free_mib = shutil.disk_usage(place.vms).free >> 20
    needed_mib = spec.flavor.disk_mib + spec.extras.data_disk_mib
    says = f"{free_mib} MiB are free, and a VM may need {needed_mib} MiB."
    cure = "" if free_mib >= needed_mib else "Make space on that file system, or ask for smaller disks."
    return Finding(code="space", ok=not cure, says=says, cure=cure)


def _programs(spec: VmSpec) -> Finding:
    needed = _PROGRAMS if wanted.is_plain(spec) else (*_PROGRAMS, *_NODE_PROGRAMS)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _SBIN))
    absent = [program for program in needed if not shutil.which(program, path=path)]
    if absent:
        cure = (
            "Install them; on Debian they are in the packages coreutils, util-linux, mariadb-server and mariadb-backup."
        )
        return Finding(code="programs", ok=False, says=f"programs are missing: {', '.join(absent)}.", cure=cure)
    return Finding(code="programs", ok=True, says=f"all programs are there: {', '.join(needed)}.")


def _script(place: Place, spec: VmSpec) -> Finding:
    script = place.plain_script if wanted.is_plain(spec) else place.script
    if not os.access(script, os.R_OK):
        cure = "Name a script as LOCAL_INIT that can be read, or leave it empty."
        return Finding(code="init", ok=False, says=f"{script}, which boots VMs, cannot be read.", cure=cure)
    return Finding(code="init", ok=True, says=f"{script} boots VMs.")


def _addresses(place: Place) -> Finding:
    free = loopback.count_free(place.network)
    cure = "" if free else "Delete VMs, or widen LOCAL_NETWORK."
    return Finding(code="addresses", ok=not cure, says=f"{free} addresses of {place.network} are free.", cure=cure)


def _image(place: Place, spec: VmSpec) -> Finding:
    try:
        with snapshots.disk_of(place, spec.image):
            return Finding(code="image", ok=True, says=f"the image {spec.image or wanted.IMAGE} is there.")
    except IaasError as exc:
        return Finding(code="image", ok=False, says=exc.says, cure=f"Use {wanted.IMAGE} or one of the snapshots.")


def _wishes(place: Place, spec: VmSpec) -> Iterator[Finding]:
    for error in _complaints(place, spec):
        yield Finding(code="wishes", ok=False, says=error.says, cure="Leave it out, or use another provider.")


def _complaints(place: Place, spec: VmSpec) -> Iterator[Error]:
    yield from wanted.complaints(spec, place)
    try:
        _: Path = place.vm(spec.name)
    except IaasError as exc:
        yield exc
