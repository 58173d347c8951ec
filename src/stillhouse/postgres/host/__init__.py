"""Servers of this host: programs, accounts, starts and stops, networks."""
