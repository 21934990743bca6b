#!/bin/sh
# Boots a conpaassql agent: reads the VM's context, writes agent.ini and keeps the agent running.
#
# The same script serves VMs of OpenNebula, whose context lies on a CD image, and of LOCAL, which
# names the file in CONPAASSQL_CONTEXT.  It forks as little as it can: a boot should not be waited for.
# It ends with 0 when it was asked to stop, and with another status when it gave up; its last words say why.

umask 077

say() {
    printf '%s\n' "conpaassql: $*" >&2
}

give_up() {
    say "$1"
    exit "${2:-1}"
}

# The first word that names a file is the context; one-context may have exported it already.
for context in "${CONPAASSQL_CONTEXT:-}" /run/one-context/context.sh /mnt/context.sh; do
    if [ -n "$context" ] && [ -f "$context" ]; then
        . "$context"
        break
    fi
done

root=${CONPAASSQL_ROOT:-/var/lib/conpaassql/node}
python=${CONPAASSQL_PYTHON:-/usr/bin/python3}
template=${CONPAASSQL_TEMPLATE:-/var/lib/conpaassql/template}
address=${CONPAASSQL_ADDRESS:-${ETH0_IP:-}}

for name in CONPAASSQL_NODE CONPAASSQL_MANAGER_URL; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || give_up "the context has no $name; was this VM made by a manager?" 78
done
[ -n "$address" ] || give_up "the context has neither CONPAASSQL_ADDRESS nor ETH0_IP." 78
command -v "$python" >/dev/null || give_up "$python is not there; install conpaassql in the image." 78

[ -d "$root" ] || mkdir -p "$root" || give_up "$root cannot be made." 73

# Secrets go into files that only this user can read, never into a command line.
ca_file=
if [ -n "${CONPAASSQL_CA_BASE64:-}" ]; then
    ca_file=$root/authority.pem
    [ -s "$ca_file" ] || printf '%s' "$CONPAASSQL_CA_BASE64" | base64 -d >"$ca_file" || give_up "CONPAASSQL_CA_BASE64 is not base64." 78
fi
token_file=
if [ -n "${CONPAASSQL_JOIN_TOKEN:-}" ]; then
    token_file=$root/join.token
    printf '%s\n' "$CONPAASSQL_JOIN_TOKEN" >"$token_file" || give_up "$token_file cannot be written." 73
fi
unset CONPAASSQL_JOIN_TOKEN

printf '%s\n' \
    '[agent]' \
    "node = $CONPAASSQL_NODE" \
    "cluster = ${CONPAASSQL_CLUSTER:-}" \
    "root = $root" \
    "address = $address" \
    "port = ${CONPAASSQL_PORT:-60000}" \
    "template = $template" \
    "manager_url = $CONPAASSQL_MANAGER_URL" \
    "join_token_file = $token_file" \
    "ca_file = $ca_file" \
    "disk_mib = ${CONPAASSQL_DISK_MIB:-0}" \
    "memory_mib = ${CONPAASSQL_MEMORY_MIB:-0}" \
    >"$root/agent.ini" || give_up "$root/agent.ini cannot be written." 73

agent=
stop() {
    trap - TERM INT
    if [ -n "$agent" ]; then
        kill -TERM "$agent" 2>/dev/null
        wait "$agent"
    fi
    exit 0
}
trap stop TERM INT

# An agent that died comes back at once; one that keeps dying, ever more slowly.
pause=0
while :; do
    "$python" -m conpaassql.agent_cli -c "$root/agent.ini" &
    agent=$!
    wait "$agent"
    status=$?
    agent=
    case $status in
        0) say "the agent has ended."; exit 0 ;;
        78) exit 78 ;; # EX_CONFIG of sysexits.h; the agent has said what is wrong
        126 | 127) give_up "$python cannot be run." 78 ;;
    esac
    now=$(date +%s)
    [ "$((now - ${died:-0}))" -lt 60 ] || pause=0
    died=$now
    say "the agent died with status $status; again in $pause s."
    sleep "$pause" &
    wait "$!"
    pause=$((pause == 0 ? 1 : pause * 2))
    [ "$pause" -le 30 ] || pause=30
done
