"""Alembic's entry: the connection comes from `store.migration`, or from `-x url=...` by hand."""

from alembic import context
from sqlalchemy import Connection, create_engine

from store import table
from store.database import parse_url

TABLES = table.PipelineRow.metadata


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=TABLES,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    url = context.get_x_argument(as_dictionary=True)["url"]
    with create_engine(parse_url(url)).begin() as opened:
        _run(opened)
