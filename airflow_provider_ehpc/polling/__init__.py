"""Waiting for jobs: what is looked at, how often, and what it means for whoever waits."""
