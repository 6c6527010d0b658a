"""Wait for jobs: what to poll, how often, and what the results mean for a wait."""
