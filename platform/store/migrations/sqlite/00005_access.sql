-- +goose Up
-- People. A person may have roles in several accounts.
CREATE TABLE users (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  email      TEXT NOT NULL UNIQUE, -- lower case
  password   TEXT NOT NULL DEFAULT '', -- argon2id, "" for none
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE TABLE user_roles (
  user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  role       TEXT NOT NULL, -- see access
  PRIMARY KEY (user_id, account_id, role)
);
CREATE INDEX user_roles_account ON user_roles (account_id);

-- What people and browsers hold is here as SHA-256 only.
CREATE TABLE refresh_tokens (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  name       TEXT NOT NULL,
  hash       BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  used_at    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
CREATE TABLE user_sessions (
  hash       BLOB PRIMARY KEY,
  user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  refresh_id INTEGER REFERENCES refresh_tokens (id) ON DELETE CASCADE, -- NULL: by password
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX user_sessions_user ON user_sessions (user_id);
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);
CREATE INDEX user_sessions_refresh ON user_sessions (refresh_id);

-- +goose Down
DROP TABLE user_sessions;
DROP TABLE refresh_tokens;
DROP TABLE user_roles;
DROP TABLE users;
