"""A manager that kills itself, as SIGKILL does, at one change that a job about machines makes, counted from 0.

Usage: mortal_machines.py 3 -c manager.ini.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from conpaassql import cli, settings


def main() -> None:
    """Run the manager; die at the change."""
    fatal = int(sys.argv[1])
    found = settings.load_manager(Path(sys.argv[3]))
    cli.set_up_logging(found.manager.logfile)
    seen = itertools.count()

    def on_change(when: str, change: str) -> None:
        if next(seen) == fatal:
            print(f"killed {when} {change}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    cli.run(found, on_change=on_change)


if __name__ == "__main__":
    main()
