"""The descriptions of what DWS does not have."""
