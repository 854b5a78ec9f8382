"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Examples that touch the disk take as long as the disk does. In CI the same examples
# are tried each time, so that a run says something of the change and not of the dice.
settings.register_profile("latenthash", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("latenthash")

# A shell starts what runs in the background with SIGINT ignored, and what tests start would
# inherit that: an interrupt that they send would be none.
signal.signal(signal.SIGINT, signal.default_int_handler)
