"""What the threads of one process wait for together: bells, turns at copying nodes, and checks of passwords."""
