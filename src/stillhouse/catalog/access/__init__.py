"""Rows of those who may enter: users, keys, policies, accounts of the operating system."""
