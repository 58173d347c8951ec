"""The bodies of requests and answers of our own operations, which DWS does not have."""
