// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// perPage is the length of a page of a list.
const perPage = 50

// list is what a page with a list was asked for, and where it leads.
type list struct {
	// Text and State are what the list is filtered by.
	Text, State string
	Page        int // from 1
	Total       int
	path        string
	query       url.Values
}

// list reads the parameters of a list from the address.
func (c *call) list() list {
	query := c.r.URL.Query()
	l := list{Text: strings.TrimSpace(clip(query.Get("q"), 100)), State: clip(query.Get("state"), 40), Page: 1, path: c.r.URL.Path, query: query}
	if n, err := strconv.Atoi(query.Get("page")); err == nil && n > 1 && n < 1<<20 {
		l.Page = n
	}
	return l
}

// page is what the store wants to know.
func (l list) page() store.Page {
	return store.Page{Contains: l.Text, State: l.State, Limit: perPage, Offset: (l.Page - 1) * perPage}
}

// Pages is how many pages there are.
func (l list) Pages() int { return max(1, (l.Total+perPage-1)/perPage) }

// From and To number the rows of this page.
func (l list) From() int { return min((l.Page-1)*perPage+1, l.Total) }

// To is the last row of this page.
func (l list) To() int { return min(l.Page*perPage, l.Total) }

// Filtered tells whether something may be hidden.
func (l list) Filtered() bool { return l.Text != "" || l.State != "" }

// Previous and Next are the addresses of the neighbours, empty for none.
func (l list) Previous() string {
	if l.Page <= 1 {
		return ""
	}
	return l.address(min(l.Page-1, l.Pages()))
}

// Next is the address of the following page, empty for none.
func (l list) Next() string {
	if l.Page >= l.Pages() {
		return ""
	}
	return l.address(l.Page + 1)
}

// Here is the address of this page of the list, for fetching it again.
func (l list) Here() string { return l.address(l.Page) }

func (l list) address(page int) string {
	query := url.Values{}
	for key, values := range l.query {
		if key != "page" && key != "done" && key != liveID && values[0] != "" {
			query[key] = values[:1]
		}
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	if len(query) == 0 {
		return l.path
	}
	return l.path + "?" + query.Encode()
}

// cut filters and pages a list that is short enough to be read whole.
func cut[T any](l *list, all []T, name func(T) string) []T {
	found := all[:0:0]
	for _, one := range all {
		if strings.Contains(strings.ToLower(name(one)), strings.ToLower(l.Text)) {
			found = append(found, one)
		}
	}
	l.Total = len(found)
	from := min((l.Page-1)*perPage, len(found))
	return found[from:min(from+perPage, len(found))]
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// id reads a numeric parameter of the path; 0 is nothing's id.
func (c *call) id() (int64, error) {
	n, err := strconv.ParseInt(c.r.PathValue("id"), 10, 64)
	if err != nil || n <= 0 {
		return 0, errNoPage
	}
	return n, nil
}
