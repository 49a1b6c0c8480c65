"""Two machines that share a real S3 server (moto's, on this machine), and no disk."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from jetpress.deploy.errors import DeviceError, RecipeError, ToolMissing
from jetpress.pipeline.store import shared as shared_module
from jetpress.pipeline.store.artifact import Samples
from jetpress.pipeline.store.facts.samples import SamplesFacts
from jetpress.pipeline.store.shared import VARIABLE, Shared
from jetpress.pipeline.store.store import Store
from tests.deploy.sshd import free_port
