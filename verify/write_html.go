// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	_ "embed"
	"html/template"
	"io"
)

// page is the report for browsers. It loads nothing.
//
//go:embed report.html
var page string

func (r *Report) html(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"safe": safe, "check": Find}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}
