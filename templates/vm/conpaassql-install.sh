#!/bin/sh
# Makes a Debian or Ubuntu machine a node of conpaassql: conpaassql-install.sh [manager|agent|image]
#
# Everything is taken from the VM's context. A VM without conpaassql in its image runs this as its start script
# (START_SCRIPT_BASE64); where it is there already, it is only started. Nothing of the package runs before its
# checksum is that of the context. Without internet, the manager's /install has to hold the wheels that the package
# needs. CONPAASSQL_PREFIX is another place than /opt/conpaassql; then, and without root, nothing is made a service.
# image prepares an image that can become either; its VMs need no start script.

set -u
umask 022 # the services run as a user of their own
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH LC_ALL=C.UTF-8

say() {
    printf '%s\n' "conpaassql-install: $*" >&2
}

give_up() {
    say "$*"
    exit 1
}

# one-context has exported the context already; in other clouds it is a file.
for context in "${CONPAASSQL_CONTEXT:-}" /run/conpaassql/context.sh /run/one-context/context.sh.network \
    /run/one-context/context.sh /mnt/context.sh; do
    if [ -n "$context" ] && [ -f "$context" ] && [ -r "$context" ]; then
        # shellcheck disable=SC1090
        . "$context"
        break
    fi
done
unset CONPAASSQL_JOIN_TOKEN ONE_PASSWORD TOKENTXT # of no use here, so no program that is called gets them

role=${1:-${CONPAASSQL_ROLE:-agent}}
prefix=${CONPAASSQL_PREFIX:-/opt/conpaassql}
package=${CONPAASSQL_PACKAGE:-}
checksum=${CONPAASSQL_PACKAGE_SHA256:-}
stamp=$prefix/.installed
case $package in # a bare name is a file on the context's CD, where one-context starts this
    */* | '') ;;
    *) package=$PWD/$package ;;
esac
programs='setsid setpriv flock'
case $role in
    agent | image) programs="$programs mariadbd mariadb-install-db mariadb-backup mbstream mariadb mariadb-dump" ;;
    manager) ;;
    *) give_up "usage: conpaassql-install.sh [manager|agent|image]" ;;
esac

as_service() {
    [ "$(id -u)" = 0 ] && [ "$prefix" = /opt/conpaassql ] && command -v systemctl >/dev/null
}

installed() {
    [ -f "$stamp" ] && read -r found _ <"$stamp" && { [ "$found" = "$role" ] || [ "$found" = image ]; }
}

# Debian's packages. They are asked for only when something is missing, and without -core no server would start.

apt() {
    [ "$(id -u)" = 0 ] || give_up "missing: $*; install it, or run this as root."
    command -v apt-get >/dev/null || give_up "missing: $*; there is no apt-get here, install it by hand."
    say "installing $*"
    for try in 1 2 3; do
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install \
            --no-install-recommends "$@" </dev/null >&2 && return
        apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null >&2 || sleep "$try"
    done
    give_up "apt-get could not install $*."
}

# Before Ubuntu 24.04 the packages with the bare programs have the version in their names.
mariadb_packages() {
    apt-cache show mariadb-server-core >/dev/null 2>&1 || apt-get -q update </dev/null >&2
    if apt-cache show mariadb-server-core >/dev/null 2>&1; then
        echo mariadb-server-core mariadb-client-core mariadb-client mariadb-backup
    else
        version=$(apt-cache pkgnames mariadb-server-core- | sed 's/.*-core-//' | sort -V | tail -n 1)
        echo "mariadb-server-core-$version mariadb-client-core-$version mariadb-client-$version mariadb-backup"
    fi
}

missing() {
    for program in "$@"; do
        command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

need_programs() {
    # shellcheck disable=SC2086
    wanting=$(missing $programs)
    [ -n "$wanting" ] || return 0
    [ "$(id -u)" = 0 ] || give_up "missing: $wanting; install MariaDB's and util-linux' programs, or run this as root."
    case $wanting in
        *maria* | *mbstream*) packages=$(mariadb_packages) ;;
        *) packages=util-linux ;;
    esac
    # shellcheck disable=SC2086
    apt $packages
    # shellcheck disable=SC2086
    wanting=$(missing $programs)
    [ -z "$wanting" ] || give_up "still missing: $wanting"
}

# Prints the first Python that is new enough and can make a venv.
suitable_python() {
    for candidate in "${CONPAASSQL_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] &&
            "$candidate" -I -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

need_python() {
    python=$(suitable_python)
    [ -n "$python" ] || apt python3 python3-venv
    [ -n "${python:=$(suitable_python)}" ] || apt python3.11 python3.11-venv # Ubuntu 22.04 comes with 3.10
    [ -n "${python:=$(suitable_python)}" ] || give_up "there is no Python of at least 3.11 here."
}

# Fetches the package and compares the checksum; the authority is the only one that is trusted.
fetch() {
    "$python" -I - "$package" "$wheel" "$checksum" "$ca" <<'END'
import hashlib, ssl, sys, time, urllib.error, urllib.request

url, target, wanted, authority = sys.argv[1:]
if "://" not in url:
    url = "file://" + url
context = ssl.create_default_context(cafile=authority or None)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
deadline = time.monotonic() + 300
while True:
    digest, size = hashlib.sha256(), 0
    try:
        with opener.open(url, timeout=20) as source, open(target, "wb") as file:
            while piece := source.read(1 << 16):
                size += len(piece)
                if size > 1 << 26:
                    sys.exit("conpaassql-install: the package is larger than 64 MiB; nothing was installed.")
                digest.update(piece)
                file.write(piece)
        break
    except (OSError, urllib.error.URLError) as exc:
        reason = getattr(exc, "reason", exc)
        if isinstance(reason, ssl.SSLError) or isinstance(exc, urllib.error.HTTPError) or time.monotonic() > deadline:
            sys.exit(f"conpaassql-install: {url} cannot be fetched: {reason}.")
        time.sleep(2)
if digest.hexdigest() != wanted.lower():
    sys.exit(f"conpaassql-install: {url} has the checksum {digest.hexdigest()}, not {wanted}; nothing was installed.")
END
}

# pip takes one file of authorities for the manager and for the world.
pip() {
    if [ -n "$ca" ]; then
        "$prefix/bin/python" -I -c 'from pip._vendor import certifi; print(open(certifi.where()).read())' \
            >"$work/bundle.pem" 2>/dev/null
        cat "$ca" >>"$work/bundle.pem"
    fi
    "$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-warn-script-location \
        --prefer-binary ${ca:+--cert "$work/bundle.pem"} "$@" </dev/null >&2
}

# First with what the manager has, then also with pip's usual sources.
pip_install() {
    pip --no-index --find-links "$links" "$@" 2>"$work/pip.log" && return
    say "the manager has not every package; trying pip's own sources."
    if [ "$(id -u)" = 0 ] && [ -n "$(missing gcc mariadb_config pkg-config)" ]; then
        apt ca-certificates gcc libc6-dev pkg-config libmariadb-dev "$("$python" -I -c \
            'import sys; print("python%d.%d-dev" % sys.version_info[:2])')" # mysqlclient is built where it is installed
    fi
    pip --find-links "$links" "$@" || {
        cat "$work/pip.log" >&2
        give_up "pip could not install what the package needs; put the wheels into the manager's packages_dir."
    }
}

install() {
    for name in CONPAASSQL_PACKAGE CONPAASSQL_PACKAGE_SHA256; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || give_up "the context has no $name; was it made by a manager?"
    done
    need_python
    work=$(mktemp -d) || give_up "there is no place for temporary files."
    trap 'rm -rf "$work"' EXIT
    trap 'exit 143' TERM INT HUP
    wheel=$work/${package##*/}
    ca=
    if [ -n "${CONPAASSQL_CA_BASE64:-}" ]; then
        ca=$work/ca.pem
        printf '%s' "$CONPAASSQL_CA_BASE64" | base64 -d >"$ca" || give_up "CONPAASSQL_CA_BASE64 is not base64."
    fi
    fetch || exit 1
    rm -f "$stamp"
    "$python" -I -m venv --clear "$prefix" >&2 || give_up "$prefix could not be made a place for Python."
    links=${package%/*}/
    host=${links#*://}
    export NO_PROXY="${host%%[:/]*}${NO_PROXY:+,$NO_PROXY}"
    if [ "$role" = agent ]; then # an agent needs a part of what the package as a whole asks for
        pip_install --no-deps "$wheel"
        ln -sfn "$(vm_files)" "$prefix/vm"
        pip_install -r "$prefix/vm/agent-requirements.txt"
        "$prefix/bin/python" -I -c 'import conpaassql.agent_cli' || give_up "the installed agent does not run."
    else
        pip_install "$wheel"
        ln -sfn "$(vm_files)" "$prefix/vm"
        "$prefix/bin/python" -I -c 'import conpaassql.cli' || give_up "the installed manager does not run."
    fi
    { printf '%s\n' "$role $checksum" >"$stamp.new" && mv "$stamp.new" "$stamp"; } || give_up "$stamp cannot be written."
    say "installed the $role below $prefix."
}

vm_files() {
    "$prefix/bin/python" -I -c 'import conpaassql, os; print(os.path.join(conpaassql.__path__[0], "templates", "vm"))'
}

make_service() {
    unit=/etc/systemd/system/conpaassql-$1.service
    cmp -s "$prefix/vm/conpaassql-$1.service" "$unit" && return
    getent passwd conpaassql >/dev/null ||
        useradd --system --user-group --home-dir /var/lib/conpaassql --no-create-home --shell /usr/sbin/nologin \
            conpaassql || give_up "the user conpaassql cannot be made."
    { cp "$prefix/vm/conpaassql-$1.service" "$unit" && chmod 644 "$unit"; } || give_up "$unit cannot be written."
    systemctl --quiet enable "conpaassql-$1" || give_up "systemd does not take $unit."
}

mkdir -p "$prefix" || give_up "$prefix cannot be made."
need_programs
exec 9>"$prefix.lock" # beside it, as making the place for Python empties it
flock 9
installed || install
if ! as_service; then
    say "not made a service; to run it: $prefix/vm/init.sh $role"
elif [ "$role" = image ]; then
    make_service agent
    make_service manager
else
    make_service "$role"
    systemctl daemon-reload
    # Not waiting, since the boot that runs this may have to end before others begin.
    systemctl start --no-block "conpaassql-$role" || give_up "conpaassql-$role could not be started."
fi
