#!/bin/sh
# Brings Temporal's databases to the schema of this image. Safe to repeat: a schema that is newer
# than 0.0 is kept, and only the versions that are missing are applied.
# SQL_HOST, SQL_PORT, SQL_USER, SQL_PASSWORD and SQL_PLUGIN come from the environment.
set -eu

bring_up() {
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema \
        --schema-dir "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

bring_up "$DBNAME" temporal
bring_up "$VISIBILITY_DBNAME" visibility
