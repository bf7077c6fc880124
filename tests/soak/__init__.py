"""The soak: hours of ordinary trouble at random, with a checker after every round.

``python -m tests.soak --minutes 30`` pushes good and bad commits, delivers them through deploy.cgi
(or forgets to), deploys, rolls back, cancels, locks, kills what runs and fills the disk, all at the
same time; then it lets things settle and holds what it finds to the invariants of the sweep.
"""
