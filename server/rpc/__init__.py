"""gRPC: the server, its guard, and one module per service. Nothing but the command line imports from it."""
