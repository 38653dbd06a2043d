-- +goose Up
-- A cloud is one region of a provider, with what its calls are signed with. The
-- first one is where instances belong that nobody has placed; it has no region.
CREATE TABLE clouds (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id       INTEGER NOT NULL REFERENCES accounts (id),
  name             TEXT NOT NULL,
  description      TEXT NOT NULL DEFAULT '',
  cloud_type       TEXT NOT NULL DEFAULT 'amazon',
  region           TEXT NOT NULL DEFAULT '',
  endpoint_url     TEXT NOT NULL DEFAULT '', -- '': AWS's own
  credentials      TEXT NOT NULL DEFAULT 'none', -- none, ambient, keys
  access_key       TEXT NOT NULL DEFAULT '',
  sealed           BLOB NOT NULL DEFAULT x'', -- secret key and session token
  role_arn         TEXT NOT NULL DEFAULT '',
  external_id      TEXT NOT NULL DEFAULT '',
  cloud_account    TEXT NOT NULL DEFAULT '', -- whose instances these are, as the cloud says
  discover_seconds INTEGER NOT NULL DEFAULT 0, -- 0: nothing is discovered
  discovered_at    INTEGER NOT NULL DEFAULT 0, -- end of the last complete listing
  catalogued_at    INTEGER NOT NULL DEFAULT 0, -- the same of images and the like
  discover_error   TEXT NOT NULL DEFAULT '',
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  UNIQUE (account_id, name)
);
INSERT INTO clouds (id, account_id, name, created_at, updated_at) VALUES (1, 1, 'default', 0, 0);

CREATE TABLE images (
  id                  INTEGER PRIMARY KEY AUTOINCREMENT,
  cloud_id            INTEGER NOT NULL REFERENCES clouds (id) ON DELETE CASCADE,
  uid                 TEXT NOT NULL UNIQUE, -- the opaque id in hrefs
  resource_uid        TEXT NOT NULL,
  name                TEXT NOT NULL,
  description         TEXT NOT NULL,
  os_platform         TEXT NOT NULL,
  cpu_architecture    TEXT NOT NULL,
  visibility          TEXT NOT NULL, -- private, public
  virtualization_type TEXT NOT NULL,
  image_type          TEXT NOT NULL, -- machine
  created_at          INTEGER NOT NULL,
  updated_at          INTEGER NOT NULL,
  gone_at             INTEGER NOT NULL DEFAULT 0,
  UNIQUE (cloud_id, resource_uid)
);

-- What else a launch can name.
CREATE TABLE cloud_resources (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  cloud_id     INTEGER NOT NULL REFERENCES clouds (id) ON DELETE CASCADE,
  kind         TEXT NOT NULL, -- datacenter, instance_type, subnet, security_group, ssh_key
  uid          TEXT NOT NULL UNIQUE,
  resource_uid TEXT NOT NULL,
  name         TEXT NOT NULL,
  attributes   TEXT NOT NULL, -- JSON object of texts
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  gone_at      INTEGER NOT NULL DEFAULT 0,
  UNIQUE (cloud_id, kind, resource_uid)
);

-- What the cloud says of an instance. seen_cloud_id is the cloud that lists it;
-- cloud_id stays as it is in the href that the agent knows.
ALTER TABLE instances ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN instance_type TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN datacenter TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN cloud_state TEXT NOT NULL DEFAULT ''; -- running, stopped, ...; '': never seen
ALTER TABLE instances ADD COLUMN client_token TEXT NOT NULL DEFAULT ''; -- of our launch
ALTER TABLE instances ADD COLUMN seen_cloud_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN launched_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0; -- when a listing last brought news
ALTER TABLE instances ADD COLUMN gone_at INTEGER NOT NULL DEFAULT 0; -- when the cloud stopped listing it
CREATE INDEX instances_seen ON instances (seen_cloud_id, gone_at);
CREATE INDEX instances_client_token ON instances (client_token);

-- What is to happen to a machine. A row is worked on in steps, by whoever holds
-- its lease, until done_at is set; nothing of it is in memory only.
CREATE TABLE machine_jobs (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  cloud_id    INTEGER NOT NULL REFERENCES clouds (id),
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL, -- launch, stop, start, terminate
  step        TEXT NOT NULL,
  detail      TEXT NOT NULL, -- JSON, see launch
  sealed      BLOB NOT NULL DEFAULT x'', -- user-data, until the launch is through
  by_whom     TEXT NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  last_error  TEXT NOT NULL DEFAULT '',
  created_at  INTEGER NOT NULL,
  step_at     INTEGER NOT NULL, -- when the step began
  due_at      INTEGER NOT NULL, -- not before
  leased_by   TEXT NOT NULL DEFAULT '',
  leased_to   INTEGER NOT NULL DEFAULT 0,
  done_at     INTEGER NOT NULL DEFAULT 0,
  outcome     TEXT NOT NULL DEFAULT '' -- done, failed, replaced
);
-- One thing at a time.
CREATE UNIQUE INDEX machine_jobs_active ON machine_jobs (instance_id) WHERE done_at = 0;
CREATE INDEX machine_jobs_due ON machine_jobs (done_at, due_at);
CREATE INDEX machine_jobs_instance ON machine_jobs (instance_id, id);

-- A token that is good for one use is kept as its hash only.
UPDATE enrolment_tokens SET sealed = x'' WHERE server_id IN (SELECT id FROM servers WHERE enrolment = 'attested');

-- +goose Down
DROP TABLE machine_jobs;
DROP INDEX instances_client_token;
DROP INDEX instances_seen;
ALTER TABLE instances DROP COLUMN gone_at;
ALTER TABLE instances DROP COLUMN seen_at;
ALTER TABLE instances DROP COLUMN launched_at;
ALTER TABLE instances DROP COLUMN seen_cloud_id;
ALTER TABLE instances DROP COLUMN client_token;
ALTER TABLE instances DROP COLUMN cloud_state;
ALTER TABLE instances DROP COLUMN datacenter;
ALTER TABLE instances DROP COLUMN instance_type;
ALTER TABLE instances DROP COLUMN name;
DROP TABLE cloud_resources;
DROP TABLE images;
DROP TABLE clouds;
