"""The record: deployments, deliveries, releases, holds, locks and notices, in one SQLite file.

Each module holds the queries of one table under a name; all take a
:class:`~deployctl.store.database.Database`. ``database``, ``deliveries``, ``freezes`` and
``queue`` are on the webhook's way and import nothing heavy.
"""
