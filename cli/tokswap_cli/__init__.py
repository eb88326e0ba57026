"""The command line of tokswap: one file per command, and `output` the only module that prints."""
