#!/bin/sh
# Stands for the entry point of the official PostgreSQL image: POSTGRES_PASSWORD, POSTGRES_INITDB_ARGS.
set -eu
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
data=/tmp/server
printf %s "${POSTGRES_PASSWORD:?}" >/tmp/password
# Unquoted on purpose: several arguments in one variable.
# shellcheck disable=SC2086
initdb --pgdata="$data" --username=postgres --pwfile=/tmp/password --auth-host=scram-sha-256 --no-sync \
    ${POSTGRES_INITDB_ARGS:-}
rm /tmp/password
echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
