"""Carry single tables from a clone into a living cluster."""
