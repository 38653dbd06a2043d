// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

var (
	errNoPage      = errors.New("no such page")
	errNoMethod    = errors.New("this page cannot be used that way")
	errForeignForm = errors.New("the form does not belong to this session")
	errNoCloud     = errors.New("no cloud credentials: this platform cannot reach a cloud for this server")
)

// forbiddenError is a page that the person's roles do not open.
type forbiddenError struct{ need access.Role }

func (e *forbiddenError) Error() string { return "this needs the role " + string(e.need) }

// problem returns the text of an error that a person can do something about,
// for showing it beside the form; "" for all others.
func problem(err error) string {
	var (
		refused *fleet.RefusedError
		invalid *fleet.InvalidError
		who     *access.InvalidError
		input   *inputError
	)
	switch {
	case errors.As(err, &refused):
		return refused.Text
	case errors.As(err, &invalid):
		return invalid.Text
	case errors.As(err, &who):
		return who.Text
	case errors.As(err, &input):
		return input.Error()
	case errors.Is(err, errNoCloud):
		return err.Error()
	}
	return ""
}

// fail shows an error as a page.
func (c *call) fail(err error) {
	var (
		forbidden *forbiddenError
		tooLong   *http.MaxBytesError
	)
	switch text := problem(err); {
	case errors.Is(err, errNoPage):
		c.errorPage(http.StatusNotFound, "Not found", "There is no page at this address.")
	case errors.Is(err, store.ErrNotFound):
		c.errorPage(http.StatusNotFound, "Not found", "This does not exist, or not any more: "+err.Error()+".")
	case errors.Is(err, errNoMethod):
		c.errorPage(http.StatusMethodNotAllowed, "That does not work", "This page cannot be used that way. Go back and use the form.")
	case errors.As(err, &forbidden):
		c.errorPage(http.StatusForbidden, "Not allowed", "This needs the role "+string(forbidden.need)+". An admin can give it to you.")
	case errors.Is(err, errForeignForm):
		c.errorPage(http.StatusForbidden, "Please try again", "The form is older than your session, or came from another site. Go back, reload the page and send it again.")
	case errors.As(err, &tooLong):
		c.errorPage(http.StatusRequestEntityTooLarge, "Too long", "What you sent is longer than 1 MiB.")
	case text != "":
		c.errorPage(http.StatusUnprocessableEntity, "That did not work", text)
	case errors.Is(err, context.Canceled) && c.r.Context().Err() != nil:
		c.w.WriteHeader(499) // the browser went away; nobody reads the answer
	case isFormError(err), errors.Is(err, store.ErrText):
		c.errorPage(http.StatusBadRequest, "That cannot be read", "What was sent is not text, or not a form.")
	default:
		c.opt.Log.ErrorContext(c.ctx(), "page failed", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		c.errorPage(http.StatusInternalServerError, "Something went wrong here", "The platform's log tells more.")
	}
}

// formError is a form that net/http cannot read.
type formError struct{ error }

func (e formError) Unwrap() error { return e.error }

func isFormError(err error) bool {
	var form formError
	return errors.As(err, &form)
}

// errorBody is what an error page shows.
type errorBody struct {
	Status int
	Text   string
}

// errorPage writes an error as a page, or as one sentence where htmx asked for
// a part of a page.
func (c *call) errorPage(status int, title, text string) {
	if c.fragment {
		http.Error(c.w, title+": "+text, status)
		return
	}
	if err := c.show(status, "error", title, errorBody{Status: status, Text: text}); err != nil {
		c.opt.Log.ErrorContext(c.ctx(), "error page", "error", err)
		http.Error(c.w, title, status)
	}
}
