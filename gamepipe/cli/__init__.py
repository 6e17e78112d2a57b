"""The `gamepipe` command."""
