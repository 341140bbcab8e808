"""One agent in virtual time: its store and its NAS in memory, its steps as scripts, and a loop that has them happen.

It stands above the wiring, for it looks into several rooms, and holds no rule of the protocol itself. `simulation`
puts faults around it and counts, `testing` puts a user's tasks into it.
"""
