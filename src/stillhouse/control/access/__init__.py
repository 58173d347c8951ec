"""Users, keys, policies and the check of permissions; the record of refusals."""
