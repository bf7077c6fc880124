"""The record: deployments, deliveries, releases, holds, locks and notices, in one SQLite file.

Each module holds the queries of one subject as functions. Their first argument is a
:class:`~deployctl.store.database.Database`, or the connection of a write transaction that the
caller has begun. The webhook imports ``database``, ``deliveries``, ``locks_and_holds``, ``queue``
and ``checks``; they import nothing that is slow to load.
"""
