-- +goose Up
-- Which replica does the work that one alone must do.
CREATE TABLE leases (
  name       TEXT PRIMARY KEY,
  holder     TEXT NOT NULL,
  term       BIGINT NOT NULL, -- grows with every change of the holder
  expires_at BIGINT NOT NULL -- by the clock of the database
);
-- What a certificate authority gave to all replicas, encrypted with the key file.
CREATE TABLE acme_items (
  name   TEXT PRIMARY KEY,
  sealed BYTEA NOT NULL
);
-- What is removed when its time is over.
CREATE INDEX audit_entries_age ON audit_entries (updated_at);

-- +goose Down
DROP INDEX audit_entries_age;
DROP TABLE acme_items;
DROP TABLE leases;
