"""Generated from proto/gamepipe/v1; run `make proto` after a change there."""
