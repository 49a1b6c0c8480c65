"""``python -m jetpress``: the same as the command ``jetpress``."""

import sys

from jetpress.pipeline.cli import main

sys.exit(main())
