"""Several services on one catalog: the news of the one that leads, and lock-outs that all share."""
