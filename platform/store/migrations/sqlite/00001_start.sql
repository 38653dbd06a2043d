-- Times are Unix milliseconds in UTC. Ids that the wire shows are integers.
-- The SQL stays within what PostgreSQL also understands, apart from types and
-- AUTOINCREMENT, so that a second directory of migrations is all it needs.

-- +goose Up
CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE accounts (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
INSERT INTO accounts (id, name, created_at) VALUES (1, 'default', 0);

CREATE TABLE credentials (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  name        TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  sealed      BLOB NOT NULL, -- encrypted with the key file beside the database
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  UNIQUE (account_id, name)
);

CREATE TABLE blobs (
  digest     TEXT PRIMARY KEY, -- SHA-256, hex
  size       INTEGER NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE TABLE blob_chunks (
  digest  TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
  n       INTEGER NOT NULL, -- chunk n holds bytes from n * chunk size
  content BLOB NOT NULL,
  PRIMARY KEY (digest, n)
);

CREATE TABLE right_scripts (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  name        TEXT NOT NULL,
  revision    INTEGER NOT NULL DEFAULT 0, -- 0 is HEAD
  description TEXT NOT NULL,
  source      TEXT NOT NULL,
  packages    TEXT NOT NULL,
  inputs      TEXT NOT NULL, -- JSON list of declared inputs
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  UNIQUE (account_id, name, revision)
);
CREATE TABLE right_script_attachments (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  right_script_id INTEGER NOT NULL REFERENCES right_scripts (id) ON DELETE CASCADE,
  filename        TEXT NOT NULL,
  digest          TEXT NOT NULL REFERENCES blobs (digest),
  UNIQUE (right_script_id, filename)
);
CREATE INDEX right_script_attachments_digest ON right_script_attachments (digest);

CREATE TABLE server_templates (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id         INTEGER NOT NULL REFERENCES accounts (id),
  name               TEXT NOT NULL,
  revision           INTEGER NOT NULL DEFAULT 0,
  description        TEXT NOT NULL,
  inputs             TEXT NOT NULL, -- JSON object, name to value
  multi_cloud_images TEXT NOT NULL, -- JSON list, as uploaded
  alerts             TEXT NOT NULL, -- JSON list, as uploaded
  created_at         INTEGER NOT NULL,
  updated_at         INTEGER NOT NULL,
  UNIQUE (account_id, name, revision)
);
CREATE TABLE runnable_bindings (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  server_template_id INTEGER NOT NULL REFERENCES server_templates (id) ON DELETE CASCADE,
  right_script_id    INTEGER NOT NULL REFERENCES right_scripts (id),
  sequence           TEXT NOT NULL, -- Boot, Operational, Decommission
  position           INTEGER NOT NULL,
  UNIQUE (server_template_id, sequence, position)
);
CREATE INDEX runnable_bindings_script ON runnable_bindings (right_script_id);

CREATE TABLE servers (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id         INTEGER NOT NULL REFERENCES accounts (id),
  name               TEXT NOT NULL,
  description        TEXT NOT NULL,
  server_template_id INTEGER NOT NULL REFERENCES server_templates (id),
  rightlink_version  TEXT NOT NULL,
  user_data          TEXT NOT NULL, -- the user's own part
  state              TEXT NOT NULL,
  created_at         INTEGER NOT NULL,
  updated_at         INTEGER NOT NULL,
  UNIQUE (account_id, name)
);
CREATE INDEX servers_template ON servers (server_template_id);
CREATE TABLE server_inputs (
  server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  name      TEXT NOT NULL,
  value     TEXT NOT NULL,
  PRIMARY KEY (server_id, name)
);

-- An instance row exists from the moment its token is issued, so that its href
-- is known before it declares itself; resource_uid is empty until then.
CREATE TABLE instances (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id        INTEGER NOT NULL REFERENCES accounts (id),
  cloud_id          INTEGER NOT NULL DEFAULT 1,
  server_id         INTEGER REFERENCES servers (id) ON DELETE SET NULL,
  uid               TEXT NOT NULL UNIQUE, -- the opaque id in hrefs
  resource_uid      TEXT NOT NULL DEFAULT '',
  cloud             TEXT NOT NULL DEFAULT '',
  image_uid         TEXT NOT NULL DEFAULT '',
  public_ips        TEXT NOT NULL DEFAULT '[]',
  private_ips       TEXT NOT NULL DEFAULT '[]',
  rightlink_version TEXT NOT NULL DEFAULT '',
  state             TEXT NOT NULL,
  created_at        INTEGER NOT NULL,
  declared_at       INTEGER NOT NULL DEFAULT 0,
  updated_at        INTEGER NOT NULL,
  ended_at          INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX instances_server ON instances (server_id);
CREATE INDEX instances_resource ON instances (account_id, resource_uid);

CREATE TABLE state_history (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  from_state  TEXT NOT NULL,
  to_state    TEXT NOT NULL,
  kind        TEXT NOT NULL,
  at          INTEGER NOT NULL
);
CREATE INDEX state_history_instance ON state_history (instance_id, id);

CREATE TABLE enrolment_tokens (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  server_id   INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  instance_id INTEGER NOT NULL REFERENCES instances (id),
  hash        BLOB NOT NULL, -- SHA-256 of the token, for checking it
  sealed      BLOB NOT NULL, -- the token encrypted, for printing user-data again
  agent_id    TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  revoked_at  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX enrolment_tokens_server ON enrolment_tokens (server_id, id);
CREATE INDEX enrolment_tokens_instance ON enrolment_tokens (instance_id);

CREATE TABLE access_tokens (
  hash       BLOB PRIMARY KEY, -- SHA-256 of the bearer token
  token_id   INTEGER NOT NULL REFERENCES enrolment_tokens (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);
CREATE INDEX access_tokens_token ON access_tokens (token_id);

CREATE TABLE audit_entries (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id   INTEGER NOT NULL REFERENCES accounts (id),
  server_id    INTEGER REFERENCES servers (id) ON DELETE SET NULL,
  instance_id  INTEGER REFERENCES instances (id) ON DELETE SET NULL,
  auditee_href TEXT NOT NULL,
  summary      TEXT NOT NULL,
  user_email   TEXT NOT NULL,
  notify       TEXT NOT NULL,
  detail_size  INTEGER NOT NULL DEFAULT 0, -- end of the last byte
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
);
CREATE INDEX audit_entries_server ON audit_entries (server_id, id);
CREATE INDEX audit_entries_instance ON audit_entries (instance_id, id);
-- Parts never overlap; a hole is a part that did not arrive (yet).
CREATE TABLE audit_details (
  audit_entry_id INTEGER NOT NULL REFERENCES audit_entries (id) ON DELETE CASCADE,
  position       INTEGER NOT NULL,
  content        BLOB NOT NULL,
  PRIMARY KEY (audit_entry_id, position)
);

-- The first token id has four digits, so that it does not look like a counter
-- that somebody forgot to set.
INSERT INTO sqlite_sequence (name, seq) VALUES ('enrolment_tokens', 1000);

-- +goose Down
DROP TABLE audit_details;
DROP TABLE audit_entries;
DROP TABLE access_tokens;
DROP TABLE enrolment_tokens;
DROP TABLE state_history;
DROP TABLE instances;
DROP TABLE server_inputs;
DROP TABLE servers;
DROP TABLE runnable_bindings;
DROP TABLE server_templates;
DROP TABLE right_script_attachments;
DROP TABLE right_scripts;
DROP TABLE blob_chunks;
DROP TABLE blobs;
DROP TABLE credentials;
DROP TABLE accounts;
DROP TABLE settings;
