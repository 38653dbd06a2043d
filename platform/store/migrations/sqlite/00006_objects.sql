-- +goose Up
CREATE TABLE deployments (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id       INTEGER NOT NULL REFERENCES accounts (id),
  name             TEXT NOT NULL,
  description      TEXT NOT NULL DEFAULT '',
  locked           INTEGER NOT NULL DEFAULT 0,
  server_tag_scope TEXT NOT NULL DEFAULT 'deployment', -- deployment, account
  inputs           TEXT NOT NULL DEFAULT '{}', -- JSON object, name to value
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  UNIQUE (account_id, name)
);
INSERT INTO deployments (account_id, name, description, server_tag_scope, created_at, updated_at)
  SELECT id, 'Default', 'Servers that nobody has put elsewhere', 'account', created_at, created_at FROM accounts;

-- Which revision was committed of which HEAD, 0 for the HEAD itself.
ALTER TABLE right_scripts ADD COLUMN lineage_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE right_scripts ADD COLUMN commit_message TEXT NOT NULL DEFAULT '';
ALTER TABLE server_templates ADD COLUMN lineage_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_templates ADD COLUMN commit_message TEXT NOT NULL DEFAULT '';
-- API 1.5 tells the MD5 of attachments; '' is computed when it is asked for.
ALTER TABLE blobs ADD COLUMN md5 TEXT NOT NULL DEFAULT '';

CREATE TABLE multi_cloud_images (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id     INTEGER NOT NULL REFERENCES accounts (id),
  name           TEXT NOT NULL,
  description    TEXT NOT NULL DEFAULT '',
  revision       INTEGER NOT NULL DEFAULT 0,
  lineage_id     INTEGER NOT NULL DEFAULT 0,
  commit_message TEXT NOT NULL DEFAULT '',
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL,
  UNIQUE (account_id, name, revision)
);
-- image_uid and instance_type are the cloud's own names: ami-..., t3.small.
CREATE TABLE mci_settings (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  mci_id        INTEGER NOT NULL REFERENCES multi_cloud_images (id) ON DELETE CASCADE,
  cloud_id      INTEGER NOT NULL,
  image_uid     TEXT NOT NULL,
  instance_type TEXT NOT NULL DEFAULT '',
  user_data     TEXT NOT NULL DEFAULT '',
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  UNIQUE (mci_id, cloud_id)
);
CREATE TABLE st_multi_cloud_images (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  server_template_id INTEGER NOT NULL REFERENCES server_templates (id) ON DELETE CASCADE,
  mci_id             INTEGER NOT NULL REFERENCES multi_cloud_images (id),
  is_default         INTEGER NOT NULL DEFAULT 0,
  created_at         INTEGER NOT NULL,
  updated_at         INTEGER NOT NULL,
  UNIQUE (server_template_id, mci_id)
);
CREATE INDEX st_multi_cloud_images_mci ON st_multi_cloud_images (mci_id);

-- Kept for right_st; nothing watches metrics yet.
CREATE TABLE alert_specs (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  server_template_id INTEGER NOT NULL REFERENCES server_templates (id) ON DELETE CASCADE,
  name               TEXT NOT NULL,
  detail             TEXT NOT NULL, -- JSON object of texts
  created_at         INTEGER NOT NULL,
  updated_at         INTEGER NOT NULL,
  UNIQUE (server_template_id, name)
);

CREATE TABLE server_arrays (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id    INTEGER NOT NULL REFERENCES accounts (id),
  name          TEXT NOT NULL,
  description   TEXT NOT NULL DEFAULT '',
  deployment_id INTEGER REFERENCES deployments (id),
  enabled       INTEGER NOT NULL DEFAULT 0,
  size          INTEGER NOT NULL DEFAULT 1, -- how many servers there shall be
  spec          TEXT NOT NULL, -- JSON, how each of them is made
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  UNIQUE (account_id, name)
);

-- The launch configuration of a server; empty means that the MultiCloudImage
-- or the cloud decides.
ALTER TABLE servers ADD COLUMN deployment_id INTEGER REFERENCES deployments (id);
ALTER TABLE servers ADD COLUMN cloud_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE servers ADD COLUMN image_uid TEXT NOT NULL DEFAULT ''; -- ami-...
ALTER TABLE servers ADD COLUMN mci_id INTEGER REFERENCES multi_cloud_images (id);
ALTER TABLE servers ADD COLUMN instance_type TEXT NOT NULL DEFAULT ''; -- t3.small
ALTER TABLE servers ADD COLUMN subnet_uid TEXT NOT NULL DEFAULT ''; -- subnet-...
ALTER TABLE servers ADD COLUMN security_group_uids TEXT NOT NULL DEFAULT '[]'; -- JSON list, sg-...
ALTER TABLE servers ADD COLUMN ssh_key_uid TEXT NOT NULL DEFAULT ''; -- name of the key
ALTER TABLE servers ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN array_id INTEGER REFERENCES server_arrays (id);
UPDATE servers SET deployment_id = (SELECT id FROM deployments WHERE deployments.account_id = servers.account_id);
CREATE INDEX servers_deployment ON servers (deployment_id);
CREATE INDEX servers_array ON servers (array_id);
CREATE INDEX servers_mci ON servers (mci_id);

-- A running instance has its own copy of the inputs, made at its launch, which
-- an operator may change for it alone.
CREATE TABLE instance_inputs (
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  value       TEXT NOT NULL,
  PRIMARY KEY (instance_id, name)
);
ALTER TABLE instances ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX audit_entries_account ON audit_entries (account_id, updated_at);
CREATE INDEX audit_entries_auditee ON audit_entries (auditee_href, id);

-- +goose Down
DROP INDEX audit_entries_auditee;
DROP INDEX audit_entries_account;
ALTER TABLE instances DROP COLUMN locked;
DROP TABLE instance_inputs;
DROP INDEX servers_mci;
DROP INDEX servers_array;
DROP INDEX servers_deployment;
ALTER TABLE servers DROP COLUMN array_id;
ALTER TABLE servers DROP COLUMN locked;
ALTER TABLE servers DROP COLUMN ssh_key_uid;
ALTER TABLE servers DROP COLUMN security_group_uids;
ALTER TABLE servers DROP COLUMN subnet_uid;
ALTER TABLE servers DROP COLUMN instance_type;
ALTER TABLE servers DROP COLUMN mci_id;
ALTER TABLE servers DROP COLUMN image_uid;
ALTER TABLE servers DROP COLUMN cloud_id;
ALTER TABLE servers DROP COLUMN deployment_id;
DROP TABLE server_arrays;
DROP TABLE alert_specs;
DROP TABLE st_multi_cloud_images;
DROP TABLE mci_settings;
DROP TABLE multi_cloud_images;
ALTER TABLE blobs DROP COLUMN md5;
ALTER TABLE server_templates DROP COLUMN commit_message;
ALTER TABLE server_templates DROP COLUMN lineage_id;
ALTER TABLE right_scripts DROP COLUMN commit_message;
ALTER TABLE right_scripts DROP COLUMN lineage_id;
DROP TABLE deployments;
