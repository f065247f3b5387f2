"""A module for each noun of the command line; ``picloud.cli.main`` says which is imported when."""
