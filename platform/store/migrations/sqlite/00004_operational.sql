-- +goose Up
CREATE TABLE tags (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  href       TEXT NOT NULL, -- of the resource
  name       TEXT NOT NULL, -- namespace:predicate=value, or a plain word
  PRIMARY KEY (account_id, href, name)
);

-- What waits for an agent. A row goes when the agent has taken it, or when its
-- time is over. It holds no secrets: values are resolved when it is sent.
CREATE TABLE events (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid        TEXT NOT NULL UNIQUE,
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  path        TEXT NOT NULL, -- the agent's actor, such as /instance_scheduler/schedule_bundle
  detail      TEXT NOT NULL, -- JSON, see fleet
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL
);
CREATE INDEX events_instance ON events (instance_id, id);
CREATE INDEX events_expiry ON events (expires_at);

-- People who may log in to the instances of an account.
CREATE TABLE login_users (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  username    TEXT NOT NULL,
  public_keys TEXT NOT NULL, -- JSON list
  superuser   INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL DEFAULT 0, -- 0: never
  created_at  INTEGER NOT NULL,
  UNIQUE (account_id, username)
);

-- +goose Down
DROP TABLE login_users;
DROP TABLE events;
DROP TABLE tags;
