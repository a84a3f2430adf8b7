"""The command line: a client of the public API and nothing else. It may be installed where Mist is not."""

__version__ = "0.1.0"
