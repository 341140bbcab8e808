"""The simulation: the agent of `virtual`, the faults that chance has in store for it, and what it all came to."""
