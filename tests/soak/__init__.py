"""The soak test: random actions and failures for hours, with checks after every round.

``python -m tests.soak --minutes 30`` pushes good and bad commits, delivers most of them through
deploy.cgi, deploys, rolls back, cancels, locks, kills processes and fills the disk, all at the same
time. Then it waits until nothing runs any more, and checks the invariants of the sweep.
"""
