"""Operations of our own, beyond the DWS API, under a prefix that no DWS client uses."""
