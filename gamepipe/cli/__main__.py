"""`python -m gamepipe.cli`."""

from gamepipe.cli.main import main

main()
