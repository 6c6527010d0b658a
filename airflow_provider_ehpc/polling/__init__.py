"""Poll jobs once for all triggers that wait for them."""
