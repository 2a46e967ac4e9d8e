"""gRPC server of liftos-bayes."""

import os

# Processes are only ever exec'ed, never forked to go on in Python, so gRPC's fork handlers have nothing to do here but
# to complain on standard error. gRPC reads this when it is imported first.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
