"""``python -m SAMoraLib`` is the command ``samora``."""

import sys

from SAMoraLib.cli import main

sys.exit(main())
