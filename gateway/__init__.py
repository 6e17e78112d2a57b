"""gRPC and REST, both thin over one service layer."""
