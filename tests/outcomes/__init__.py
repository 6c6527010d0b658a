# SPDX-License-Identifier: Apache-2.0
"""How jobs end on real schedulers, and how tasks end then: the tables of docs/outcomes.md."""
