"""Pure placement: an immutable snapshot in, a placement and its reasons out. No I/O, no clock."""
