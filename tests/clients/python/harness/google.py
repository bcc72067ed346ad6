"""Google's double: the keys, accounts, token grants and documents that the daemon is pointed at."""

