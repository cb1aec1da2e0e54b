"""Converts what a replica's steps are to protobuf and back; pure."""

from deployments.telemetry import telemetry_pb2 as pb
from router.replicas.step_report import StepReport


def step_message(report: StepReport | None) -> pb.Steps | None:
    """Return the message for a report; None: the engine does not tell."""
    if report is None:
        return None
    return pb.Steps(
        decode_tokens_per_s=report.decode_tokens_per_s,
        sequences=report.sequences,
        prompt_tokens=report.prompt_tokens,
        answer_tokens_per_s=report.answer_tokens_per_s,
        added_tokens_per_s=report.added_tokens_per_s,
    )


def read_steps(message: pb.Steps) -> StepReport:
    """Return the report in a message."""
    return StepReport(
        decode_tokens_per_s=message.decode_tokens_per_s,
        sequences=message.sequences,
        prompt_tokens=message.prompt_tokens,
        answer_tokens_per_s=message.answer_tokens_per_s,
        added_tokens_per_s=message.added_tokens_per_s,
    )
