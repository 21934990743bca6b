#!/bin/sh
# Boots a machine on this computer that is no node: runs its user data once, and stays up.
#
# Once means: not again after this began, also when the power was cut meanwhile.

umask 077

if [ -f "$CONPAASSQL_VM/userdata" ] && [ ! -e "$CONPAASSQL_VM/userdata.ran" ]; then
    : >"$CONPAASSQL_VM/userdata.ran"
    "$CONPAASSQL_VM/userdata" || printf '%s\n' "conpaassql: the user data ended with status $?." >&2
fi
exec sleep infinity
