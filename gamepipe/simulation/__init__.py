"""Experiments on the placement code that runs in production: replayed traces and made-up worlds."""
