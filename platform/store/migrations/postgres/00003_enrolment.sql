-- +goose Up
-- Servers from before this table enrol as they did.
ALTER TABLE servers ADD COLUMN enrolment TEXT NOT NULL DEFAULT 'legacy'; -- attested, legacy
ALTER TABLE servers ADD COLUMN allow TEXT NOT NULL DEFAULT '{}'; -- JSON: accounts, regions, images
-- JSON: the instances that may use the token, and whether their age matters.
ALTER TABLE enrolment_tokens ADD COLUMN expected TEXT NOT NULL DEFAULT '{}';
-- When the instance first enrolled by attestation; it stays when its token goes.
ALTER TABLE instances ADD COLUMN attested_at BIGINT NOT NULL DEFAULT 0;

-- A row exists from the moment that a token was used; from then on the key
-- counts, and the token no longer.
CREATE TABLE attestations (
  token_id     BIGINT PRIMARY KEY REFERENCES enrolment_tokens (id) ON DELETE CASCADE,
  instance_uid TEXT NOT NULL,
  account      TEXT NOT NULL,
  region       TEXT NOT NULL,
  image        TEXT NOT NULL,
  pending_at   BIGINT NOT NULL, -- of the newest document seen
  public_key   BYTEA NOT NULL,
  next_key     BYTEA NOT NULL DEFAULT '', -- proposed; public_key ends when it is used
  key_since    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL
);
CREATE INDEX attestations_instance ON attestations (instance_uid);

-- Nonces that were used and have not expired yet. Unused ones are nowhere: a
-- nonce proves itself.
CREATE TABLE used_nonces (
  hash       BYTEA PRIMARY KEY, -- SHA-256
  expires_at BIGINT NOT NULL
);
CREATE INDEX used_nonces_expiry ON used_nonces (expires_at);

-- +goose Down
DROP TABLE used_nonces;
DROP TABLE attestations;
ALTER TABLE instances DROP COLUMN attested_at;
ALTER TABLE enrolment_tokens DROP COLUMN expected;
ALTER TABLE servers DROP COLUMN allow;
ALTER TABLE servers DROP COLUMN enrolment;
