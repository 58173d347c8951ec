"""The control plane over a real catalog, with flows that are enqueued and never carried out."""
