"""The simulation: the real rules under a virtual clock, with a NAS and a store that live in memory.

It stands on the street, for it looks into several rooms, and holds no rule of the protocol itself.
"""
