"""REST: converts requests to calls of the service, and answers to JSON."""
