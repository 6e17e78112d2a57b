"""The pipeline file: its fields, parser, validation, binding, JSON Schema and codec."""
