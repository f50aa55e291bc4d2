#!/bin/sh
# Stands for the entry point of the official MySQL image: MYSQL_ROOT_PASSWORD, MYSQL_DATABASE.
set -eu
data=/tmp/server
settings="--no-defaults --datadir=$data --secure-file-priv=NULL --innodb-redo-log-capacity=64M"
# Unquoted on purpose: several arguments in one variable.
# shellcheck disable=SC2086
mysqld $settings --initialize-insecure
cat >/tmp/password <<END
CREATE DATABASE IF NOT EXISTS ${MYSQL_DATABASE:?};
ALTER USER root@localhost IDENTIFIED BY '${MYSQL_ROOT_PASSWORD:?}';
CREATE USER root@'%' IDENTIFIED BY '${MYSQL_ROOT_PASSWORD:?}';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
END
# shellcheck disable=SC2086
exec mysqld $settings --init-file=/tmp/password --socket=/tmp/socket --pid-file=/tmp/pid --mysqlx=OFF \
    --bind-address='*' "$@"
