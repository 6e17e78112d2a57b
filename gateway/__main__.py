"""`python -m gateway`."""

from gamepipe.uncollected import uncollected

with uncollected():
    from gateway.main import main

main()
