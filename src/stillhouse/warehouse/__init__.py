"""Many nodes as one warehouse: provisioning, wiring, the cut, the proof."""
