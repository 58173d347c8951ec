"""Hosts as network namespaces of this machine, what disturbs their links, a warehouse over them; relays, a balancer."""
