"""The pure steps of the protocol: what a claim, a start, an end, a change or an arm decides about one job.

Each step takes a `Record` and a `Moment` and returns the record to keep and an answer; it reads no clock, draws no
chance and calls nobody. A store applies it in one transaction (`Store.change`), so every store keeps the same
promises, and a state machine can drive them all.
"""
