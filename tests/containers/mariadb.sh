#!/bin/sh
# Stands for the entry point of the official MariaDB image: MARIADB_ROOT_PASSWORD, MARIADB_DATABASE.
set -eu
data=/tmp/server
mariadb-install-db --no-defaults --datadir="$data" --auth-root-authentication-method=normal --skip-test-db \
    --skip-name-resolve
cat >/tmp/password <<END
CREATE DATABASE IF NOT EXISTS ${MARIADB_DATABASE:?};
CREATE OR REPLACE USER root@localhost IDENTIFIED BY '${MARIADB_ROOT_PASSWORD:?}';
GRANT ALL ON *.* TO root@localhost WITH GRANT OPTION;
CREATE OR REPLACE USER root@'%' IDENTIFIED BY '${MARIADB_ROOT_PASSWORD:?}';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
END
exec mariadbd --no-defaults --datadir="$data" --init-file=/tmp/password --socket=/tmp/socket --pid-file=/tmp/pid \
    --bind-address='*' "$@"
