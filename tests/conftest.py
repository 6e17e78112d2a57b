"""Fixtures of every test: real servers, started once, on free ports."""

pytest_plugins = ["tests.temporal_fixtures", "tests.postgres_fixtures", "tests.docker_fixtures"]
