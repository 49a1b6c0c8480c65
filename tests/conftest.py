"""One thread for each test process: two of them share the machine, and results do not depend on the split."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
