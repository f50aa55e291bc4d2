"""``python -m tests.faults --seeds 500``: let faults happen and print what became of them."""

import sys

from tests.faults.command import main

sys.exit(main())
