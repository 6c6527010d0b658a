"""Wait in the triggerer, without a worker slot and without blocking the event loop."""
