"""Operations of our own, for which the DWS API has no call, under a prefix that no DWS client uses."""
