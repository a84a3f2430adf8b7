"""Machines: what they are, what can be done to them, how a poll writes them."""
