#!/bin/sh
# Runs once, when PostgreSQL makes its data folder: a role of its own for us and for Temporal, and
# for each the databases that it owns. Nobody else may connect to them.
set -eu

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv gamepipe_password GAMEPIPE_DB_PASSWORD
\getenv temporal_password TEMPORAL_DB_PASSWORD

CREATE ROLE gamepipe LOGIN PASSWORD :'gamepipe_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';

CREATE DATABASE gamepipe OWNER gamepipe;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

REVOKE CONNECT ON DATABASE gamepipe, temporal, temporal_visibility FROM PUBLIC;
SQL
