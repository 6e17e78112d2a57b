"""What workflows call: control activities on `gamepipe`, node activities on `node-<id>`."""
