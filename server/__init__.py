"""gRPC server of liftos-bayes."""
