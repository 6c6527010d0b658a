"""Follow the log of a remote job: pure generators that a hook drives."""
