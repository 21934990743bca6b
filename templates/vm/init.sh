#!/bin/sh
# Makes a booted VM a node: init.sh [agent|manager] [run|prepare|wanted]
#
# run      writes the configuration from the VM's context and keeps the agent (or the manager) running
# prepare  only writes the configuration; systemd does the rest
# wanted   only says by its status whether the context asks for an agent (or a manager) here
#
# The same script serves VMs of OpenNebula, whose context lies on a CD image, of other clouds, and of LOCAL, which
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

role=${1:-agent}
task=${2:-run}
for context in "${CONPAASSQL_CONTEXT:-}" /run/conpaassql/context.sh /run/one-context/context.sh.network \
    /run/one-context/context.sh.local /run/one-context/context.sh /mnt/context.sh; do
    [ -z "$context" ] || [ ! -f "$context" ] || break
    context=
done

# An image without OpenNebula's own package leaves the CD where it is; a copy is kept until the next boot.
read_cd() {
    cd_=/dev/disk/by-label/CONTEXT
    [ -b "$cd_" ] && [ "$(id -u)" = 0 ] || return 0
    mkdir -p /run/conpaassql/cd && mount -o ro "$cd_" /run/conpaassql/cd || return 0
    for file in context.sh token.txt; do
        [ ! -f "/run/conpaassql/cd/$file" ] || cp "/run/conpaassql/cd/$file" "/run/conpaassql/$file"
    done
    umount /run/conpaassql/cd
    context=/run/conpaassql/context.sh
}
[ -n "$context" ] || read_cd
if [ -n "$context" ]; then
    # shellcheck disable=SC1090
    . "$context"
fi

root=${CONPAASSQL_DATA_DIR:-${CONPAASSQL_ROOT:-/var/lib/conpaassql/node}}
python=${CONPAASSQL_PYTHON:-/opt/conpaassql/bin/python}
[ -n "${CONPAASSQL_PYTHON:-}" ] || [ -x "$python" ] || python=/usr/bin/python3
address=${CONPAASSQL_ADDRESS:-${ETH0_IP:-}}

# Gives what was made as root to the user of the service.
hand_over() {
    [ -z "${CONPAASSQL_USER:-}" ] || [ "$(id -u)" != 0 ] || chown "$CONPAASSQL_USER:" "$@"
}

# Prints the VM's token for OneGate, where OpenNebula gave it one.
onegate_token() {
    if [ -n "${TOKENTXT:-}" ]; then
        printf '%s' "$TOKENTXT"
    elif [ -r /run/one-context/one_env ]; then
        # shellcheck disable=SC1091
        (. /run/one-context/one_env && printf '%s' "${TOKENTXT:-}")
    elif [ -n "$context" ] && [ -r "${context%/*}/token.txt" ]; then
        cat "${context%/*}/token.txt"
    fi
}

# The disk that outlives the VM holds all that the agent keeps, its key and its memory too, so that the next VM goes
# on as after a reboot.  A blank disk gets a file system; one that holds anything at all is only mounted.
mount_data() {
    # A VM that is only processes (LOCAL, the simulator) would see the disks of the machine around it.
    [ -z "${CONPAASSQL_VM:-}" ] || give_up "a VM on this machine itself cannot have a disk of its own." 78
    device=/dev/${CONPAASSQL_DATA_DEVICE#/dev/}
    tries=0
    until [ -b "$device" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 30 ] || give_up "the disk for the data, $device, does not appear." 75
        sleep 1
    done
    mountpoint -q "$root" && return
    blkid -p "$device" >/dev/null 2>&1
    # 2 means that nothing was found; the first MiB has to be zeros besides.
    if [ $? = 2 ] && cmp -s -n 1048576 "$device" /dev/zero; then
        mkfs.ext4 -q -m 0 -L conpaassql "$device" || give_up "$device takes no file system." 74
    fi
    mount -o noatime "$device" "$root" || give_up "$device cannot be mounted; is it a data disk of conpaassql?" 74
}

prepare_agent() {
    if [ -z "${CONPAASSQL_NODE:-}" ] && [ -s "$root/agent.ini" ]; then
        say "there is no context; going on as at the last boot."
        return
    fi
    for name in CONPAASSQL_NODE CONPAASSQL_MANAGER_URL; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || give_up "the context has no $name; was this VM made by a manager?" 78
    done
    [ -n "$address" ] || give_up "the context has neither CONPAASSQL_ADDRESS nor ETH0_IP." 78
    [ -d "$root" ] || mkdir -p "$root" || give_up "$root cannot be made." 73
    [ -z "${CONPAASSQL_DATA_DEVICE:-}" ] || [ -n "${CONPAASSQL_DATA_DIR:-}" ] || mount_data
    before=
    [ ! -f "$root/address" ] || read -r before <"$root/address"
    if [ "$before" != "$address" ]; then # another VM: the certificate names the address
        rm -f "$root/tls/node.pem"
        printf '%s\n' "$address" >"$root/address" || give_up "$root cannot be written." 73
    fi

    # Secrets go into files that only this user can read, never into a command line.
    ca_file=
    if [ -n "${CONPAASSQL_CA_BASE64:-}" ]; then
        ca_file=$root/authority.pem
        [ -s "$ca_file" ] || printf '%s' "$CONPAASSQL_CA_BASE64" | base64 -d >"$ca_file" ||
            give_up "CONPAASSQL_CA_BASE64 is not base64." 78
    fi
    token_file=
    if [ -n "${CONPAASSQL_JOIN_TOKEN:-}" ]; then
        token_file=$root/join.token
        printf '%s\n' "$CONPAASSQL_JOIN_TOKEN" >"$token_file" || give_up "$token_file cannot be written." 73
    fi
    onegate_file=
    if [ -n "${ONEGATE_ENDPOINT:-}" ] && [ "${REPORT_READY:-}" != YES ]; then # else the image reports it
        onegate_file=$root/onegate.token
        onegate_token >"$onegate_file"
        [ -s "$onegate_file" ] || ONEGATE_ENDPOINT=
    fi
    write_agent_ini || give_up "$root/agent.ini cannot be written." 73
    hand_over "$root" "$root/address" "$root/agent.ini" ${ca_file:+"$ca_file"} ${token_file:+"$token_file"} \
        ${onegate_file:+"$onegate_file"}
}

write_agent_ini() {
    printf '%s\n' \
        '[agent]' \
        "node = $CONPAASSQL_NODE" \
        "cluster = ${CONPAASSQL_CLUSTER:-}" \
        "root = $root" \
        "address = $address" \
        "port = ${CONPAASSQL_PORT:-60000}" \
        "template = ${CONPAASSQL_TEMPLATE:-/var/lib/conpaassql/template}" \
        "manager_url = $CONPAASSQL_MANAGER_URL" \
        "join_token_file = $token_file" \
        "ca_file = $ca_file" \
        "onegate_url = ${onegate_file:+${ONEGATE_ENDPOINT:-}}" \
        "onegate_token_file = $onegate_file" \
        "vm_id = ${VMID:-}" \
        "disk_mib = ${CONPAASSQL_DISK_MIB:-0}" \
        "memory_mib = ${CONPAASSQL_MEMORY_MIB:-0}" \
        >"$root/agent.ini"
}

# The manager's file is written once: afterwards it is the administrator's.
prepare_manager() {
    [ ! -s "$config" ] || return 0
    [ -n "${CONPAASSQL_CONFIG_BASE64:-}${ONE_URL:-}" ] ||
        give_up "the context has neither CONPAASSQL_CONFIG_BASE64 nor ONE_URL, and there is no $config." 78
    (umask 022 && mkdir -p "${config%/*}") || give_up "${config%/*} cannot be made." 73
    if [ -n "${CONPAASSQL_CONFIG_BASE64:-}" ]; then
        printf '%s' "$CONPAASSQL_CONFIG_BASE64" | base64 -d >"$config.new" ||
            give_up "CONPAASSQL_CONFIG_BASE64 is not base64." 78
    else
        [ -n "$address" ] || give_up "the context has no ETH0_IP; is NETWORK = \"YES\" in it?" 78
        write_manager_ini
    fi
    hand_over "$config.new"
    mv "$config.new" "$config" || give_up "$config cannot be written." 73
}

# The names of 2012: ONE_URL and its like; ip_gateway and nameserver are the network's business today.
write_manager_ini() {
    printf '%s\n' \
        '[iaas]' \
        "DRIVER = OPENNEBULA_XMLRPC" \
        "OPENNEBULA_URL = $ONE_URL" \
        "OPENNEBULA_USER = ${ONE_USERNAME:-}" \
        "OPENNEBULA_PASSWORD = ${ONE_PASSWORD:-}" \
        "OPENNEBULA_IMAGE_ID = ${AGENT_IMAGE_ID:-}" \
        "OPENNEBULA_NETWORK_ID = ${AGENT_NETWORK_ID:-}" \
        '[manager]' \
        "address = $address" \
        "port = ${CONPAASSQL_PORT:-50000}" \
        "state_dir = ${CONPAASSQL_STATE_DIR:-/var/lib/conpaassql}" \
        >"$config.new"
}

program=
stop() {
    trap - TERM INT
    if [ -n "$program" ]; then
        kill -TERM "$program" 2>/dev/null
        wait "$program"
    fi
    exit 0
}

# A program that died comes back at once; one that keeps dying, ever more slowly.
keep_running() {
    trap stop TERM INT
    pause=0
    while :; do
        "$python" -m "$@" &
        program=$!
        wait "$program"
        status=$?
        program=
        case $status in
            0) say "the $role has ended."; exit 0 ;;
            78) exit 78 ;; # EX_CONFIG of sysexits.h; the program has said what is wrong
            126 | 127) give_up "$python cannot be run." 78 ;;
        esac
        now=$(date +%s)
        [ "$((now - ${died:-0}))" -lt 60 ] || pause=0
        died=$now
        say "the $role died with status $status; again in $pause s."
        sleep "$pause" &
        wait "$!"
        pause=$((pause == 0 ? 1 : pause * 2))
        [ "$pause" -le 30 ] || pause=30
    done
}

config=${CONPAASSQL_CONFIG:-/etc/conpaassql/manager.ini}
case $role.$task in
    agent.wanted) [ -n "${CONPAASSQL_NODE:-}" ] || [ -s "$root/agent.ini" ] || exit 1; exit 0 ;;
    manager.wanted) [ "${CONPAASSQL_ROLE:-}" = manager ] || [ -s "$config" ] || exit 1; exit 0 ;;
    agent.prepare | agent.run) prepare_agent ;;
    manager.prepare | manager.run) prepare_manager ;;
    *) give_up "usage: init.sh [agent|manager] [run|prepare|wanted]" 64 ;;
esac
[ "$task" = run ] || exit 0
command -v "$python" >/dev/null || give_up "$python is not there; install conpaassql in the image." 78
unset CONPAASSQL_JOIN_TOKEN ONE_PASSWORD TOKENTXT CONPAASSQL_CONFIG_BASE64
if [ "$role" = agent ]; then
    keep_running conpaassql.agent_cli -c "$root/agent.ini"
fi
keep_running conpaassql.cli -c "$config"
