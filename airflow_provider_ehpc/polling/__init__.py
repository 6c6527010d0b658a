# SPDX-License-Identifier: Apache-2.0
"""Poll jobs once for all triggers that wait for them."""
