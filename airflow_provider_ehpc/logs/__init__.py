# SPDX-License-Identifier: Apache-2.0
"""Follow the log of a remote job: pure generators that a hook drives."""
