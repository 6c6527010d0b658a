"""Waiting in the triggerer: no worker slot is held, and nothing blocks the event loop."""
