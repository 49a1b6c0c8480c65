"""``python -m jetpress.pipeline.cli``: what torchrun starts in every process."""

import sys

from jetpress.pipeline.cli import main

sys.exit(main())
