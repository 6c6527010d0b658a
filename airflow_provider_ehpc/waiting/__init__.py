"""Wait for jobs: what is waited for, what a poll means for the wait, and how it ends."""
