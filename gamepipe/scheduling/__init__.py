"""Pure placement: a snapshot of the fleet in, a choice or a verdict per node out."""
