"""Training runs: checkpoints, records, progress, and the run itself."""
