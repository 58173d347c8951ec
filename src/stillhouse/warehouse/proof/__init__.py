"""Compare a restored cluster with what the snapshot recorded."""
