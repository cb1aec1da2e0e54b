"""What is fuzzed, by what sends it. Each target takes bytes and raises where a promise is broken."""

from tests.fuzz.target import Target
from tests.fuzz.targets import answers, forms, json_bodies, protocol, telemetry

TARGETS: dict[str, Target] = {
    "protocol": protocol.TARGET,
    "json_bodies": json_bodies.TARGET,
    "forms": forms.TARGET,
    "answers": answers.TARGET,
    "telemetry": telemetry.TARGET,
}
"""All targets by name."""
