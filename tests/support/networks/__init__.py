"""Hosts as network namespaces of this machine: their links, what disturbs them, and a warehouse spread over them."""
