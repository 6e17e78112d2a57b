"""The node side: runtimes, step runner, spool, transports. Never imports `store` or `gateway`."""
