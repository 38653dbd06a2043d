// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
)

// renderer holds the parsed templates and the names of the static files.
type renderer struct {
	pages  map[string]*template.Template
	parts  *template.Template
	assets map[string]asset // by name with digest
	names  map[string]string
}

// asset is a static file; its name holds a digest of its content, so that a
// browser may keep it for ever.
type asset struct {
	kind    string
	content []byte
}

// newRenderer parses every template: a page is layout.html and parts.html with
// one other file that defines "content".
func newRenderer() (*renderer, error) {
	r := &renderer{pages: map[string]*template.Template{}, assets: map[string]asset{}, names: map[string]string{}}
	if err := r.readAssets(); err != nil {
		return nil, err
	}
	base, err := template.New("").Funcs(r.funcs()).ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	r.parts = base
	list, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, file := range list {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		clone, err := base.Clone()
		if err == nil {
			r.pages[name], err = clone.ParseFS(files, file)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *renderer) readAssets() error {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	list, err := fs.ReadDir(files, "static")
	if err != nil {
		return err
	}
	for _, file := range list {
		ext := path.Ext(file.Name())
		kind, served := kinds[ext]
		if !served {
			continue // licence texts
		}
		content, err := files.ReadFile("static/" + file.Name())
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		name := strings.TrimSuffix(file.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		r.assets[name], r.names[file.Name()] = asset{kind, content}, name
	}
	return nil
}

// static serves a file for ever: another content has another name.
func (c *call) static() error {
	a, ok := c.pages.assets[path.Base(c.r.URL.Path)]
	if !ok {
		return errNoPage
	}
	c.w.Header().Set("Content-Type", a.kind)
	c.w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(a.content)))
	_, err := c.w.Write(a.content)
	return err
}

// view is what every page template gets.
type view struct {
	Title string
	// Area is the part of the dashboard, for marking it in the navigation.
	Area    string
	Who     access.Principal
	Account string
	CSRF    string
	Notice  string
	Body    any
}

// May tells templates whether to offer something; the route asks again.
func (v view) May(role string) bool { return v.Who.May(access.Role(role)) }

// show writes a page.
func (c *call) show(status int, name, title string, body any) error {
	v := view{Title: title, Area: area(c.r.URL.Path), Who: c.who, CSRF: c.csrf, Notice: notices[c.r.URL.Query().Get("done")], Body: body}
	if c.who.UserID != 0 {
		account, err := c.fleet.DB.Account(c.ctx(), c.account())
		if err != nil {
			return err
		}
		v.Account = account.Name
	}
	tmpl := c.pages.pages[name]
	if tmpl == nil {
		return fmt.Errorf("no template %q", name)
	}
	return c.write(status, tmpl, "layout", v)
}

// part writes a part of a page for htmx.
func (c *call) part(name string, body any) error {
	return c.write(http.StatusOK, c.pages.parts, name, view{Who: c.who, CSRF: c.csrf, Body: body})
}

func (c *call) write(status int, tmpl *template.Template, name string, v view) error {
	var b bytes.Buffer
	if err := tmpl.ExecuteTemplate(&b, name, v); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // a browser that went away is no error of ours
	return nil
}

func area(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, Base+"/"), "/")
	switch first {
	case "run":
		return "servers"
	case "scripts":
		return "templates"
	case "multi-cloud-images":
		return "images"
	}
	return first
}

// notices are what a page says after something was done; the address holds the
// key, so that nobody can put words into our mouth.
var notices = map[string]string{
	"created":    "The server was created.",
	"launched":   "The launch was started.",
	"queued":     "The script was queued.",
	"terminate":  "The instance was asked to terminate.",
	"reboot":     "The instance was asked to reboot.",
	"stop":       "The instance was asked to stop.",
	"start":      "The instance was asked to start.",
	"relaunch":   "The server was relaunched.",
	"delete":     "The server was deleted.",
	"inputs":     "The inputs were changed.",
	"tagged":     "The tags were changed.",
	"credential": "The credential was saved.",
	"uncredited": "The credential was removed.",
	"user":       "The user was saved.",
	"removed":    "The user was removed.",
	"password":   "The password was changed.",
	"settings":   "The settings were changed. They count at the next launch.",
	"scripts":    "The scripts were changed. Servers take them at the next boot.",
	"saved":      "It was saved.",
	"deleted":    "It was removed.",
	"lock":       "The instance was locked.",
	"unlock":     "The instance was unlocked.",
	"account":    "You work in another account now.",
}

func (r *renderer) funcs() template.FuncMap {
	return template.FuncMap{
		"asset": func(name string) string { return Base + "/static/" + r.names[name] },
		"base":  func() string { return Base },
		"clock": func(t time.Time) template.HTML {
			if t.IsZero() {
				return "–"
			}
			t = t.UTC()
			return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04:05") + `</time>`) //nolint:gosec // digits only
		},
		// live is a part that updates; view is rebuilt so that page and update
		// have the same digest.
		"live": func(name string, v view) (template.HTML, error) {
			part, _, err := r.live(name, view{Who: v.Who, CSRF: v.CSRF, Body: v.Body})
			return part, err
		},
		"tone":  tone,
		"bytes": size,
		"join":  strings.Join,
		"lines": func(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") },
	}
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}

// tone is the colour of a state; the badge holds the state's name too.
func tone(state string) string {
	switch state {
	case "operational", "running":
		return "good"
	case "pending", "booting", "queued", "submitted", "starting":
		return "busy"
	case "stranded", "stranded in booting", "terminating with errors":
		return "bad"
	case "decommissioning", "decommissioned", "shutting-down", "stopping", "terminating", "rebooting":
		return "leaving"
	default:
		return "idle"
	}
}
