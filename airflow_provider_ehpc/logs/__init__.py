"""Following the log of a remote job: pure, as generators that a hook drives."""
