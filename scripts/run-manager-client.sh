#!/bin/sh
# Asks a manager of conpaassql for something: run-manager-client.sh HOST PORT VERB [ARG...]; --help says more.

here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd) || exit 2
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -P -m conpaassql.client.manager "$@"
