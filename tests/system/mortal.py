"""A manager that kills itself, as SIGKILL does, before or after a given step of its loop.

Usage: mortal.py before:CreateVm -c manager.ini; before:any and after:any are about the first step that is taken.
"""

import os
import signal
import sys
from pathlib import Path

from conpaassql import cli, settings
from conpaassql.cluster.steps import Step


def main() -> None:
    """Run the manager; die at the step."""
    fatal = sys.argv[1]
    found = settings.load_manager(Path(sys.argv[3]))
    cli.set_up_logging(found.manager.logfile)

    def on_step(when: str, step: Step) -> None:
        if fatal in (f"{when}:{type(step).__name__}", f"{when}:any"):
            print(f"killed {when} {step}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    cli.run(found, on_step)


if __name__ == "__main__":
    main()
