"""`python -m mist_cli`."""

from mist_cli.main import main

main()
