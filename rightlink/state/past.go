// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Past is the list of scripts that have succeeded on this machine; it is where
// RS_ALREADY_RUN comes from.
type Past struct {
	path string

	mu    sync.Mutex
	names []string
}

// OpenPast reads past_scripts.js. A damaged file counts as empty: a script
// then runs as if for the first time.
func OpenPast(root paths.Root) (*Past, error) {
	p := &Past{path: root.PastScripts()}
	text, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read past scripts: %w", err)
	}
	if json.Unmarshal(text, &p.names) != nil {
		p.names = nil
	}
	return p, nil
}

// Has tells if the script has succeeded before.
func (p *Past) Has(nickname string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.names, nickname)
}

// Add notes a success.
func (p *Past) Add(nickname string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.names, nickname) {
		return nil
	}
	p.names = append(p.names, nickname)
	return writeJSON(p.path, p.names)
}

// Forget empties the list, on the first boot of another instance.
func (p *Past) Forget() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) == 0 {
		return nil
	}
	p.names = nil
	return writeJSON(p.path, []string{})
}
