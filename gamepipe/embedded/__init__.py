"""The whole service on one machine: a real Temporal server, gateway, worker and one agent."""
