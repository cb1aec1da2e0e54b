"""Makes the chart's `schema/weights.json`: bytes on disk of the models that the planner knows, by their source."""

import json

from cluster.planning.disk_room import known_disk_bytes


def weights_text() -> str:
    """Return the text of `schema/weights.json`: sorted, indented, with a newline at the end."""
    return json.dumps(known_disk_bytes(), indent=1, sort_keys=True) + "\n"
