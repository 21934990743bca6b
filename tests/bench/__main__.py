"""``python -m bench NAME [--quick]``."""

import argparse
import sys

from bench import api, clone, provider, provision, report

BENCHES = {"api": api.run, "clone": clone.run, "provider": provider.run, "provision": provision.run}


def main() -> int:
    """Run one benchmark; exit 0 also when a target is missed, not 0 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--quick", action="store_true", help="fewer runs, smaller data")
    given = parser.parse_args()
    report.end(given.name, BENCHES[given.name](quick=given.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
