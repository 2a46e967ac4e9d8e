"""The worker process: joins engine and persistence and runs the jobs."""
