"""gRPC: converts messages to calls of service and store, and errors to status codes."""
