"""Moto's pretended EC2 as a server of its own, for the driver that speaks to it over HTTP."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2:
    """The pretended cloud; every ``user`` has an account of his own in it."""

    url: str
    image: str

    def options(self, user: str = "") -> dict[str, str]:
        """Return the options of a driver for this cloud."""
        return {
            "EC2_URL": self.url,
            "EC2_REGION": REGION,
            "EC2_USER": user or "testing",
            "EC2_PASSWORD": "a-secret-access-key",
            "EC2_IMAGE_ID": self.image,
        }

    def reset(self) -> None:
        """Forget everything but the images that moto comes with."""
        requests.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()


@contextmanager
def running() -> Iterator[Ec2]:
    """Yield a pretended EC2 that listens on a port of its own."""
    log = logging.getLogger("werkzeug")
    before = log.level
    log.setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Ec2(url=f"http://{host}:{port}", image="ami-03cf127a")
    finally:
        server.stop()
        log.setLevel(before)
