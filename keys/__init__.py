"""How a host is reached: keys, secrets, pinned host keys, SSH."""
