"""Clouds: accounts, hosts and engines we list and act on; their sizes, images, locations, polling and providers."""
