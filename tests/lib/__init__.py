"""What the flow, fault, interop and bench suites are built from: servers, the daemon, a producer,
events, the wire, and the one conservation helper."""
