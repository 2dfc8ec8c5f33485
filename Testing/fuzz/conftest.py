"""Children are forks with limits of their own, which Windows does not have."""

from __future__ import annotations

import sys

collect_ignore = ["test_run.py", "test_command.py"] if sys.platform == "win32" else []
