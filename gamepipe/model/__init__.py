"""The pure domain: specs, states, nodes, resources, errors. No I/O, no clock, no randomness."""
