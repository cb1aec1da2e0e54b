"""A lock that lets one thread at a time make Ray Serve's config objects."""

import threading
from typing import Final

SERVE_CONFIGS: Final = threading.Lock()
"""Held around every call that makes or reads a Serve config.

Each such call registers a module with cloudpickle and then unregisters it (`RequestRouterConfig`, Ray 2.60), so two
threads at once raise `ValueError: … not registered for pickle by value`.
"""
