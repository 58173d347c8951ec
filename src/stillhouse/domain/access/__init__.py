"""Permissions and the policies that grant them: pure."""
