"""`python -m gateway`."""

from gamepipe.leaving import leave
from gamepipe.uncollected import uncollected

with uncollected():
    from gateway.main import main

leave(main)
