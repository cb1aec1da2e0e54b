"""Load reports and residency, streamed from replicas to gateways over gRPC."""
