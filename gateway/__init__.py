"""The gateway: gRPC for agents and REST for operators, both thin over one service layer."""
