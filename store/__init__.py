"""SQLModel tables, engine, repositories, migrations."""
