#!/usr/bin/env bash
# conpaassql as a service appliance of OpenNebula's one-apps: the file that their framework calls
# /etc/one-appliance/service.d/appliance.sh, and nothing else of it.  README.md says how an image is built.
#
# The framework reads ONE_SERVICE_PARAMS, puts the values of the VM's context into variables of these names, and
# calls service_install when the image is made, service_configure and service_bootstrap at each boot.
# shellcheck disable=SC2034

ONE_SERVICE_NAME='Service conpaassql - KVM'
ONE_SERVICE_VERSION='0.1.0'
ONE_SERVICE_BUILD=$(date +%s)
ONE_SERVICE_SHORT_DESCRIPTION='Replicated MariaDB as a service: manager or node'
ONE_SERVICE_DESCRIPTION=$(
    cat <<'END'
MySQL and MariaDB as a service on OpenNebula. The same image becomes a manager, when ONEAPP_CONPAASSQL_MANAGER_ENABLED
is YES, or a database node, when a manager makes the VM. Nodes need no parameters: their manager gives them a context.
END
)
ONE_SERVICE_RECONFIGURABLE=true

# Name, stage, description, kind of input. Sunstone shows CONPAASSQL as a tab and MANAGER as a box that
# ..._ENABLED opens.
ONE_SERVICE_PARAMS=(
    'ONEAPP_CONPAASSQL_MANAGER_ENABLED' 'configure' 'This VM is a manager' 'O|boolean'
    'ONEAPP_CONPAASSQL_MANAGER_ONE_URL' 'configure' 'Address of XML-RPC, such as http://10.30.1.1:2633/RPC2' 'O|text'
    'ONEAPP_CONPAASSQL_MANAGER_ONE_USERNAME' 'configure' 'OpenNebula user who owns the nodes' 'O|text'
    'ONEAPP_CONPAASSQL_MANAGER_ONE_PASSWORD' 'configure' 'Login token (or password) of this user' 'O|password'
    'ONEAPP_CONPAASSQL_MANAGER_AGENT_IMAGE_ID' 'configure' 'Image of the nodes; best this one' 'O|text'
    'ONEAPP_CONPAASSQL_MANAGER_AGENT_NETWORK_ID' 'configure' 'Network of the nodes' 'O|text'
    'ONEAPP_CONPAASSQL_MANAGER_CONFIG_BASE64' 'configure' 'A whole manager.ini, instead of the others' 'O|text64'
)

CONPAASSQL_FILES=${CONPAASSQL_FILES:-/etc/one-appliance/service.d/conpaassql} # the recipe puts wheel and script there
CONPAASSQL_VM=${CONPAASSQL_VM:-/opt/conpaassql/vm}

service_install() {
    local wheel
    wheel=$(find "$CONPAASSQL_FILES" -name 'conpaassql-*.whl' | sort -V | tail -n 1)
    [ -n "$wheel" ] || { msg error "there is no wheel in $CONPAASSQL_FILES"; exit 1; }
    # The recipe's own files are trusted; the checksum only finds what was damaged on the way.
    CONPAASSQL_PACKAGE=$wheel \
        CONPAASSQL_PACKAGE_SHA256=$(sha256sum "$wheel" | cut -d ' ' -f 1) \
        sh "$CONPAASSQL_FILES/conpaassql-install.sh" image || { msg error 'the installation failed'; exit 1; }
    msg info 'INSTALLATION FINISHED'
    return 0
}

service_configure() {
    if [ "${ONEAPP_CONPAASSQL_MANAGER_ENABLED:-NO}" = YES ]; then
        CONPAASSQL_ROLE=manager \
            ONE_URL=${ONEAPP_CONPAASSQL_MANAGER_ONE_URL:-} \
            ONE_USERNAME=${ONEAPP_CONPAASSQL_MANAGER_ONE_USERNAME:-} \
            ONE_PASSWORD=${ONEAPP_CONPAASSQL_MANAGER_ONE_PASSWORD:-} \
            AGENT_IMAGE_ID=${ONEAPP_CONPAASSQL_MANAGER_AGENT_IMAGE_ID:-} \
            AGENT_NETWORK_ID=${ONEAPP_CONPAASSQL_MANAGER_AGENT_NETWORK_ID:-} \
            CONPAASSQL_CONFIG_BASE64=${ONEAPP_CONPAASSQL_MANAGER_CONFIG_BASE64:-} \
            CONPAASSQL_USER=conpaassql \
            "$CONPAASSQL_VM/init.sh" manager prepare || { msg error 'the manager could not be configured'; exit 1; }
    fi
    msg info 'CONFIGURATION FINISHED'
    return 0
}

service_bootstrap() {
    local role=agent
    [ "${ONEAPP_CONPAASSQL_MANAGER_ENABLED:-NO}" != YES ] || role=manager
    # Its own conditions tell whether this VM is meant; what the join with the manager decides is not waited for.
    systemctl start --no-block "conpaassql-$role" || { msg error "conpaassql-$role could not be started"; exit 1; }
    msg info 'BOOTSTRAP FINISHED'
    return 0
}

service_cleanup() {
    rm -rf "$CONPAASSQL_FILES"/*.whl /root/.cache/pip
}

service_help() {
    msg info 'Set ONEAPP_CONPAASSQL_MANAGER_ENABLED=YES and the others of a manager, or let a manager make the VM.'
}
