"""One thread at a time where Ray Serve makes its config objects."""

import threading
from typing import Final

SERVE_CONFIGS: Final = threading.Lock()
"""Held around every call that makes or reads a Serve config: each registers a module with cloudpickle and takes it back
(`RequestRouterConfig`, Ray 2.60), and two threads at once raise `ValueError: … not registered for pickle by value`."""
