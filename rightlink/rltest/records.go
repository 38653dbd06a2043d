// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rltest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (p *Platform) record(w http.ResponseWriter, r *http.Request) {
	var rec wire.StateRecord
	_ = json.NewDecoder(r.Body).Decode(&rec)
	if rec.FromState != p.recorded {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, "from_state %s does not match: currently recorded state is %s", rec.FromState, p.recorded)
		return
	}
	p.recorded = rec.State
	p.records = append(p.records, rec)
	w.WriteHeader(http.StatusNoContent)
}

func (p *Platform) append(w http.ResponseWriter, r *http.Request, path string) {
	id, ok := strings.CutSuffix(strings.TrimPrefix(path, wire.PathAuditEntries+"/"), "/append")
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e := p.entries[id]
	if e == nil {
		e = &Entry{}
		p.entries[id] = e
	}
	var a wire.AuditAppend
	_ = json.NewDecoder(r.Body).Decode(&a)
	if a.Offset > int64(len(e.Text)) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	e.Text = e.Text[:a.Offset] + a.Detail
	e.Offsets = append(e.Offsets, a.Offset)
	if a.Summary != "" {
		e.Summaries = append(e.Summaries, a.Summary)
	}
	w.WriteHeader(http.StatusNoContent)
}
