#!/bin/sh
# Gives an order to an agent of conpaassql: run-agent-client.sh HOST PORT VERB [JSON]; --help says more.

here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd) || exit 2
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -P -m conpaassql.client.agent "$@"
