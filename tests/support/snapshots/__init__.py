"""Cuts, captures and restores of real warehouses, step by step."""
