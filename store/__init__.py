"""The store: SQLModel tables, transactions, repositories and migrations."""
