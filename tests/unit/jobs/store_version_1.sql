-- The job store as the first version of Swathe made it, with a stopped job in it. PostgreSQL has BYTEA for BLOB.
CREATE TABLE clients (
    id VARCHAR(36) NOT NULL,
    name TEXT NOT NULL,
    secret_salt BLOB NOT NULL,
    secret_hash BLOB NOT NULL,
    project_id VARCHAR(36) NOT NULL,
    created VARCHAR(27) NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE jobs (
    id VARCHAR(36) NOT NULL,
    client_id VARCHAR(36) NOT NULL,
    project_id VARCHAR(36) NOT NULL,
    request TEXT NOT NULL,
    secrets TEXT,
    description TEXT,
    created VARCHAR(27) NOT NULL,
    last_updated VARCHAR(27) NOT NULL,
    status VARCHAR(16) NOT NULL,
    user_action VARCHAR(16) NOT NULL,
    user_action_updated VARCHAR(27),
    stopped_reason VARCHAR(16),
    error TEXT,
    analysis BLOB,
    scenes INTEGER NOT NULL,
    notes TEXT,
    estimated_pu FLOAT NOT NULL,
    features_total BIGINT NOT NULL,
    features_done BIGINT NOT NULL,
    features_failed BIGINT NOT NULL,
    cells_total BIGINT NOT NULL,
    cells_done BIGINT NOT NULL,
    cells_seen BIGINT NOT NULL,
    cost_pu FLOAT NOT NULL,
    forgiven_finished BIGINT NOT NULL,
    forgiven_failed BIGINT NOT NULL,
    lease_owner TEXT,
    lease_until FLOAT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX jobs_by_status ON jobs (status);
CREATE INDEX jobs_of_project ON jobs (project_id, created, id);
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE signing_keys (
    id VARCHAR(36) NOT NULL,
    pem TEXT NOT NULL,
    created VARCHAR(27) NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE units (
    job_id VARCHAR(36) NOT NULL,
    "index" INTEGER NOT NULL,
    feature_ids BLOB NOT NULL,
    features INTEGER NOT NULL,
    cells BIGINT NOT NULL,
    state VARCHAR(8) NOT NULL,
    attempts INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cost_pu FLOAT NOT NULL,
    counters TEXT,
    failures TEXT,
    error TEXT,
    PRIMARY KEY (job_id, "index"),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX units_by_state ON units (job_id, state, "index");
INSERT INTO schema_version VALUES (1);
INSERT INTO clients VALUES ('c1', 'me', CAST('salt' AS BLOB), CAST('hash' AS BLOB), 'p1', '2026-01-01T00:00:00.000000Z');
INSERT INTO jobs VALUES ('j1', 'c1', 'p1', '{"input": {}}', '{"features": null, "output": {"accessKey": "A"}}', 'mine',
    '2026-01-01T00:00:00.000000Z', '2026-01-02T00:00:00.000000Z', 'STOPPED', 'STOP', '2026-01-02T00:00:00.000000Z',
    'USER_ACTION', NULL, CAST('plan' AS BLOB), 3, '[]', 1.5, 6, 2, 2, 300, 200, 200, 0.75, 0, 0, NULL, 0.0);
INSERT INTO units VALUES ('j1', 0, CAST('feature1feature2' AS BLOB), 2, 100, 'DONE', 0, 1, 1, 0.5, '{}', '{"7": "no polygon"}', NULL);
INSERT INTO units VALUES ('j1', 1, CAST('feature1feature2' AS BLOB), 2, 100, 'DONE', 1, 1, 1, 0.25, '{}', '{"9": "too large"}', 'error');
INSERT INTO units VALUES ('j1', 2, CAST('feature1feature2' AS BLOB), 2, 100, 'PENDING', 2, 0, 0, 0.0, NULL, NULL, NULL);
