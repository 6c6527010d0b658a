# SPDX-License-Identifier: Apache-2.0
"""Wait in the triggerer, without a worker slot and without blocking the event loop."""
