"""Who may do a thing, and the record of refusals."""
