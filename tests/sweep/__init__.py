"""The fault sweep: run the real program with a fault at each system call that changes something.

``python -m tests.sweep`` runs an operation (a deployment, a rollback, a delivery, ...) once, and
counts the system calls with which its processes change files or processes. Then it runs the
operation once for each of these calls, with a fault there: the process is killed, or the call fails
with ENOSPC or EIO. After each of these runs ``deployctl run`` must repair, and the invariants are
checked.
"""
