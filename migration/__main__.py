"""Lets ``python -m migration`` do what the command does."""

from migration.cli import main

main()
