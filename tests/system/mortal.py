"""A manager that kills itself, as SIGKILL does, at the n-th point of its loop.

A point is the moment before or after a step.  Usage: mortal.py N -c manager.ini
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from conpaassql import cli, settings
from conpaassql.cluster.steps import Step


def main() -> None:
    """Run the manager; die at the point."""
    fatal = int(sys.argv[1])
    points = itertools.count()
    found = settings.load_manager(Path(sys.argv[3]))
    cli.set_up_logging(found.manager.logfile)

    def on_step(when: str, step: Step) -> None:
        if next(points) == fatal:
            print(f"killed {when} {step}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    cli.run(found, on_step)


if __name__ == "__main__":
    main()
