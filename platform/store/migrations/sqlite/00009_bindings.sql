-- +goose Up
-- Which scripts of its ServerTemplate a server does not run. Not by the binding,
-- which an upload of the ServerTemplate makes anew.
CREATE TABLE disabled_scripts (
  server_id       INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  sequence        TEXT NOT NULL,
  right_script_id INTEGER NOT NULL REFERENCES right_scripts (id) ON DELETE CASCADE,
  PRIMARY KEY (server_id, sequence, right_script_id)
);
CREATE INDEX disabled_scripts_script ON disabled_scripts (right_script_id);

-- +goose Down
DROP TABLE disabled_scripts;
