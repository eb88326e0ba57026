"""Lets `python -m tokswap_cli` stand for `tokswap`."""

import sys

from tokswap_cli.app import main

sys.exit(main())
