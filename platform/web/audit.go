// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

type auditBody struct {
	list
	// Server narrows the trail to one server, 0 for all.
	Server  int64
	Name    string // of that server
	Rows    []auditRow
	Older   string
	Before  int64
	History bool // not the newest entries
}

// audit is the trail of the account, newest first. It is read by id and not by
// page number: new entries come while somebody reads.
func (c *call) audit() error {
	b := auditBody{list: c.list()}
	query := c.r.URL.Query()
	b.Server, _ = strconv.ParseInt(query.Get("server"), 10, 64)
	b.Before, _ = strconv.ParseInt(query.Get("before"), 10, 64)
	b.History = b.Before > 0
	if b.Server > 0 {
		server, err := c.fleet.ServerByID(c.ctx(), c.account(), b.Server)
		if err != nil {
			return err
		}
		b.Name = server.Name
	}
	entries, err := c.fleet.DB.AuditBackwards(c.ctx(), store.AuditPage{AccountID: c.account(), ServerID: b.Server, Contains: b.Text, Before: b.Before, Limit: perPage + 1})
	if err != nil {
		return err
	}
	if len(entries) > perPage {
		entries = entries[:perPage]
		query.Set("before", fmt.Sprint(entries[perPage-1].ID))
		b.Older = b.path + "?" + query.Encode()
	}
	if b.Rows, err = c.auditRows(entries); err != nil {
		return err
	}
	if c.fragment {
		return c.partIfChanged("audit-rows", b)
	}
	return c.show(http.StatusOK, "audit", "Audit", b)
}

// The page of an entry begins with the end of a long text; the whole of it is a
// download.
const shownDetail = 128 << 10

type entryBody struct {
	auditRow
	Text string
	// From is where Text begins, Next where the live part goes on.
	From, Next int64
}

func (c *call) auditEntry() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	b, err := c.readTail(id, -shownDetail)
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "entry", b.Summary, b)
}

// readTail reads what there is of an entry from an offset on, piece by piece.
func (c *call) readTail(id, from int64) (b entryBody, err error) {
	var text strings.Builder
	t, err := c.fleet.AuditTail(c.ctx(), c.account(), id, from)
	b.From = t.From
	for ; err == nil; t, err = c.fleet.AuditTail(c.ctx(), c.account(), id, t.Next) {
		text.WriteString(t.Text)
		if !t.More || text.Len() >= 4*shownDetail {
			break
		}
	}
	if err != nil {
		return b, err
	}
	rows, err := c.auditRows([]store.AuditEntry{t.Entry})
	if err != nil {
		return b, err
	}
	b.auditRow, b.Text, b.Next = rows[0], text.String(), t.Next
	b.Live = b.Live || t.More
	return b, nil
}

// Version changes when anything but the text does.
func (b entryBody) Version() int64 { return b.UpdatedAt.UnixMilli() }

// auditTail is what a page asks for while the entry is live: the text after an
// offset, and the summary.
func (c *call) auditTail() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	from, err := strconv.ParseInt(query.Get("from"), 10, 64)
	if err != nil || from < 0 {
		return &fleet.InvalidError{Text: "from wants the offset to read from"}
	}
	b, err := c.readTail(id, from)
	if err != nil {
		return err
	}
	if b.Live && b.Text == "" && query.Get("version") == fmt.Sprint(b.Version()) {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.part("entry-tail", b)
}

// auditText is the whole detail text as a download.
func (c *call) auditText() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	v, err := c.fleet.AuditEntry(c.ctx(), c.account(), id)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.Header().Set("Content-Disposition", fmt.Sprintf(`inline; filename="audit-%d.txt"`, id))
	_, err = c.w.Write([]byte(*v.Detail))
	return err
}

// failed tells whether a summary says that a script went wrong.
func failed(summary string) bool {
	return strings.HasPrefix(summary, "Aborted: ") || strings.HasPrefix(summary, "Stranded: ") || strings.Contains(summary, "→ stranded")
}
