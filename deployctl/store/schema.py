"""The tables of the record, as migrations of the SQLite file.

The version of a file is its ``PRAGMA user_version``, 0 in a new one. ``MIGRATIONS[N]`` brings it
from version N to N+1.

SQLite uses a partial index only if the index's condition contains a term of the query's own
condition, so the indexes say ``OR`` and not ``IN`` (https://www.sqlite.org/partialindex.html,
section 3).
"""

MIGRATIONS = (
    """
    CREATE TABLE identity (id TEXT NOT NULL);
    INSERT INTO identity VALUES (lower(hex(randomblob(8))));

    CREATE TABLE deployments (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        repo TEXT NOT NULL,
        task TEXT NOT NULL,
        trigger TEXT NOT NULL,
        actor TEXT NOT NULL,
        status TEXT NOT NULL,
        phase TEXT NOT NULL DEFAULT '',
        ref TEXT,
        wanted_revision TEXT,
        revision TEXT,
        previous_revision TEXT,
        release TEXT,
        previous_link TEXT,
        subject TEXT,
        delivery INTEGER,
        rollback_of INTEGER,
        rollback_to TEXT,
        forced INTEGER NOT NULL DEFAULT 0,
        awaits TEXT,
        by_hand INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        superseded_by INTEGER,
        cancelled_by TEXT,
        runner TEXT,
        queued_at REAL NOT NULL,
        started_at REAL,
        finished_at REAL,
        reason TEXT,
        failure TEXT
    );
    CREATE INDEX deployments_of_repo ON deployments (repo, number);
    CREATE INDEX deployments_open ON deployments (status, repo, number)
        WHERE status = 'queued' OR status = 'running';
    CREATE INDEX deployments_succeeded ON deployments (repo, revision, number)
        WHERE status = 'succeeded';

    CREATE TABLE stages (
        id INTEGER PRIMARY KEY,
        deployment INTEGER NOT NULL,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        host TEXT,
        started_at REAL NOT NULL,
        duration REAL,
        log_start INTEGER NOT NULL,
        log_end INTEGER
    );
    CREATE INDEX stages_of_deployment ON stages (deployment);

    CREATE TABLE steps (
        stage INTEGER NOT NULL,
        position INTEGER NOT NULL,
        command TEXT NOT NULL,
        exit_code INTEGER,
        duration REAL,
        PRIMARY KEY (stage, position)
    ) WITHOUT ROWID;

    CREATE TABLE releases (
        repo TEXT NOT NULL,
        number INTEGER NOT NULL,
        name TEXT,
        revision TEXT NOT NULL,
        state TEXT NOT NULL,
        size INTEGER,
        PRIMARY KEY (repo, number)
    ) WITHOUT ROWID;

    CREATE TABLE holds (
        repo TEXT NOT NULL,
        revision TEXT NOT NULL,
        since REAL NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (repo, revision)
    ) WITHOUT ROWID;

    CREATE TABLE locks (
        repo TEXT PRIMARY KEY, actor TEXT NOT NULL, since REAL NOT NULL, why TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        forge TEXT,
        event TEXT,
        forge_id TEXT,
        repo TEXT,
        received_at REAL NOT NULL,
        result TEXT NOT NULL,
        reason TEXT NOT NULL,
        deployment INTEGER,
        replay_of INTEGER,
        facts TEXT,
        headers TEXT,
        body BLOB,
        body_size INTEGER
    );
    CREATE INDEX deliveries_by_age ON deliveries (received_at);
    CREATE INDEX deliveries_unverified ON deliveries (id)
        WHERE result IN ('refused', 'error', 'malformed');
    CREATE TABLE delivery_keys (
        repo TEXT NOT NULL, key TEXT NOT NULL, deployment INTEGER NOT NULL,
        PRIMARY KEY (repo, key)
    ) WITHOUT ROWID;
    CREATE TABLE used_proofs (
        repo TEXT NOT NULL, proof TEXT NOT NULL, expires_at REAL NOT NULL,
        PRIMARY KEY (repo, proof)
    ) WITHOUT ROWID;

    CREATE TABLE checks (
        repo TEXT NOT NULL,
        revision TEXT NOT NULL,
        context TEXT NOT NULL,
        state TEXT NOT NULL,
        mark TEXT NOT NULL,
        noted_at REAL NOT NULL,
        PRIMARY KEY (repo, revision, context)
    ) WITHOUT ROWID;

    CREATE TABLE notices (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        deployment INTEGER,
        repo TEXT,
        event TEXT NOT NULL,
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        created_at REAL NOT NULL
    );
    CREATE TABLE sendings (
        notice INTEGER NOT NULL,
        channel TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        sent_at REAL,
        due_at REAL,
        PRIMARY KEY (notice, channel)
    ) WITHOUT ROWID;
    CREATE INDEX sendings_due ON sendings (due_at) WHERE state = 'waiting';
    """,
    # The configuration that a release was built with, so that a rollback runs it with the same one.
    "ALTER TABLE releases ADD COLUMN config TEXT",
    """
    CREATE TABLE probations (
        repo TEXT PRIMARY KEY,
        deployment INTEGER NOT NULL,
        since REAL NOT NULL,
        boot TEXT NOT NULL,
        clock REAL NOT NULL,
        failure TEXT,
        why TEXT,
        told INTEGER NOT NULL DEFAULT 0,
        rollback INTEGER
    ) WITHOUT ROWID
    """,
    # The usual duration of a stage, and where the output of a step begins and ends in the log.
    """
    ALTER TABLE stages ADD COLUMN usual REAL;
    ALTER TABLE steps ADD COLUMN log_start INTEGER;
    ALTER TABLE steps ADD COLUMN log_end INTEGER;
    """,
    # The order of the queue, and what a newer request may supersede.
    """
    ALTER TABLE deployments ADD COLUMN for_newest_state INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deployments ADD COLUMN automatic INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deployments ADD COLUMN able_after INTEGER
    """,
)
