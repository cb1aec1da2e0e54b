"""Streams load reports and residency from replicas to gateways over gRPC."""
