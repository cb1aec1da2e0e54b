"""Reports of adapters on the wire."""

from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry.adapter_messages import adapters_message, read_adapters
from router.replicas.adapter_report import AdapterReport

FIRST = AdapterReport(frozenset({"a", "b"}), ("b",), 4, load_s=0.25, loads=3, problems={"c": "no such folder"})
LATER = AdapterReport(frozenset({"a", "b"}), ("b", "a"), 4, load_s=0.3, loads=4, problems={"c": "no such folder"})
OTHERS = AdapterReport(frozenset({"a"}), ("a",), 4, load_s=0.3, loads=4)


def test_a_stream_of_reports_arrives_as_it_was_sent() -> None:
    """Names travel once, and again when they change; each report comes out whole."""
    sent, read = None, None
    named = []
    for report in (FIRST, LATER, OTHERS):
        message = pb.Adapters.FromString(adapters_message(report, sent).SerializeToString())
        named.append(message.HasField("names"))
        read, sent = read_adapters(message, read), report
        assert read == report
    assert named == [True, False, True]
