"""Wheels of what is installed here: what a manager without internet would offer, made without any."""

import base64
import hashlib
import importlib.metadata
import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement

NOT_PACKED = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def wheelhouse(requirements: Path, folder: Path) -> None:
    """Put into ``folder`` a wheel of each distribution that ``requirements`` names or needs."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]
    for distribution in _closure(lines):
        _pack(distribution, folder)


def _closure(lines: list[str]) -> Iterator[Distribution]:
    seen: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        waiting += [Requirement(line) for line in found.requires or ()]
        yield found


def _pack(distribution: Distribution, folder: Path) -> None:
    tags = re.findall(r"^Tag: (\S+)", distribution.read_text("WHEEL") or "", re.M)
    tag = "-".join(".".join(sorted(set(parts))) for parts in zip(*(tag.split("-") for tag in tags), strict=True))
    name = re.sub(r"[-_.]+", "_", distribution.metadata["Name"])
    record, info = "", ""
    with zipfile.ZipFile(folder / f"{name}-{distribution.version}-{tag}.whl", "w") as wheel:
        for path in distribution.files or ():
            if path.parts[0] == ".." or "__pycache__" in path.parts or path.name in NOT_PACKED:
                continue
            if ".dist-info" in path.parts[0]:
                info = path.parts[0]
            data = path.locate().read_bytes()  # type: ignore[attr-defined]
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            wheel.writestr(str(path), data)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
