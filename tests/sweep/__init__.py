"""The fault sweep: the real program, failed at every call that changes something.

``python -m tests.sweep`` runs a deployment (a rollback, a delivery, ...) once to count the system
calls with which it and all it starts change files or processes. Then it runs the same again for
each of them, with the fault of the day at that one: killed, out of space, input/output error. After
each it lets the next ``deployctl run`` repair, and holds what it finds to the invariants.
"""
