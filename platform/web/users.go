// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// roleChoice is a role as a form offers it.
type roleChoice struct {
	Role access.Role
	Text string
	Has  bool
}

// roleTexts explain the roles to the admin who gives them. The bundles come
// first: most people need one of them and nothing else.
var roleTexts = []roleChoice{
	{Role: access.Observer, Text: "sees everything but secrets"},
	{Role: access.Operator, Text: "launches, runs scripts, terminates; sees everything but secrets"},
	{Role: access.Admin, Text: "everything, and manages users"},
	{Role: access.Actor, Text: "what an operator changes"},
	{Role: access.Designer, Text: "changes ServerTemplates, scripts and images through the API"},
	{Role: access.Publisher, Text: "publishes through the API"},
}

func roleChoices(have []string) []roleChoice {
	list := slices.Clone(roleTexts)
	for i := range list {
		list[i].Has = slices.Contains(have, string(list[i].Role))
	}
	return list
}

type usersBody struct {
	list
	Rows    []store.User
	Roles   []roleChoice
	Email   string
	Problem string
}

func (c *call) users() error {
	return c.usersPage(http.StatusOK, usersBody{Roles: roleChoices([]string{string(access.Observer)})})
}

func (c *call) usersPage(status int, b usersBody) error {
	b.list = c.list()
	all, err := c.access.Users(c.ctx(), c.account())
	if err != nil {
		return err
	}
	b.Rows = cut(&b.list, all, func(u store.User) string { return u.Email })
	return c.show(status, "users", "Users", b)
}

func (c *call) addUser() error {
	form := c.r.PostForm
	roles, err := access.ParseRoles(form["role"])
	if err == nil {
		_, err = c.access.AddUser(c.ctx(), c.account(), access.NewUser{Email: form.Get("email"), Password: secret.String(form.Get("password")), Roles: roles}, c.who.Email)
	}
	if text := problem(err); text != "" {
		return c.usersPage(http.StatusUnprocessableEntity, usersBody{Email: form.Get("email"), Roles: roleChoices(form["role"]), Problem: text})
	}
	if err != nil {
		return err
	}
	return c.to("/users?done=user")
}

type userBody struct {
	store.User
	Choices []roleChoice
	Problem string
	Self    bool
}

// shownUser finds the person of the path, if of this account.
func (c *call) shownUser() (store.User, error) {
	id, err := c.id()
	if err != nil {
		return store.User{}, err
	}
	u, err := c.fleet.DB.User(c.ctx(), id, c.account())
	if err == nil && len(u.Roles) == 0 {
		err = fmt.Errorf("user %d: %w", id, store.ErrNotFound)
	}
	return u, err
}

func (c *call) user() error {
	u, err := c.shownUser()
	if err != nil {
		return err
	}
	return c.userPage(http.StatusOK, u, "")
}

func (c *call) userPage(status int, u store.User, text string) error {
	return c.show(status, "user", u.Email, userBody{User: u, Choices: roleChoices(u.Roles), Problem: text, Self: u.ID == c.who.UserID})
}

// changeUser runs a change of the person of the path.
func (c *call) changeUser(done string, change func(u store.User) error) error {
	u, err := c.shownUser()
	if err != nil {
		return err
	}
	err = change(u)
	if text := problem(err); text != "" {
		return c.userPage(http.StatusUnprocessableEntity, u, text)
	}
	if err != nil {
		return err
	}
	return c.to("/users?done=" + done)
}

func (c *call) setRoles() error {
	return c.changeUser("user", func(u store.User) error {
		roles, err := access.ParseRoles(c.r.PostForm["role"])
		if err != nil {
			return err
		}
		return c.access.SetRoles(c.ctx(), c.account(), u.Email, roles, c.who.Email)
	})
}

func (c *call) setPassword() error {
	return c.changeUser("password", func(u store.User) error {
		return c.access.SetPassword(c.ctx(), c.account(), u.Email, secret.String(c.r.PostForm.Get("password")), c.who.Email)
	})
}

func (c *call) confirmRemoveUser() error {
	u, err := c.shownUser()
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%s/users/%d", Base, u.ID)
	return c.show(http.StatusOK, "confirm", "Remove user", confirmBody{Question: "Remove " + u.Email + "?", Label: "Remove", Post: at + "/remove", Back: at, Grave: true,
		Text: "Sessions and tokens of this user in this account end at once."})
}

func (c *call) removeUser() error {
	return c.changeUser("removed", func(u store.User) error {
		return c.access.RemoveUser(c.ctx(), c.account(), u.Email, c.who.Email)
	})
}

// meBody is a person's own page.
type meBody struct {
	Roles    []roleChoice
	Problem  string
	Accounts []store.Account
}

func (c *call) me() error { return c.mePage(http.StatusOK, "") }

func (c *call) mePage(status int, text string) error {
	var have []string
	for _, role := range c.who.Roles {
		have = append(have, string(role))
	}
	b := meBody{Problem: text}
	var err error
	if b.Accounts, err = c.fleet.DB.AccountsOfUser(c.ctx(), c.who.UserID); err != nil {
		return err
	}
	for _, one := range roleChoices(have) {
		if one.Has {
			b.Roles = append(b.Roles, one)
		}
	}
	return c.show(status, "me", c.who.Email, b)
}

// changeAccount begins a session in another account of the person. Each account
// has its own roles, so that it is a new session with a new secret.
func (c *call) changeAccount() error {
	who, err := c.access.Switch(c.ctx(), c.who, number(c.r.PostForm.Get("account")))
	if errors.Is(err, access.ErrUnauthorized) {
		return c.mePage(http.StatusUnprocessableEntity, "You have no role in that account.")
	}
	if err != nil {
		return err
	}
	return c.begin(who, Base+"/?done=account")
}

// changePassword wants the old password, so that an open browser is not enough
// to take a user over. It is a login, and limited like one.
func (c *call) changePassword() error {
	form := c.r.PostForm
	if c.limit.Blocked(c.r, c.who.Email) > 0 {
		return c.mePage(http.StatusTooManyRequests, "Too many attempts failed. Wait a minute, then try again.")
	}
	_, err := c.access.Login(c.ctx(), c.who.Email, secret.String(form.Get("old")), c.account())
	switch {
	case errors.Is(err, access.ErrUnauthorized):
		c.limit.Failed(c.r, c.who.Email)
		return c.mePage(http.StatusUnprocessableEntity, "The old password is wrong.")
	case err != nil:
		return err
	case form.Get("password") != form.Get("again"):
		return c.mePage(http.StatusUnprocessableEntity, "The two new passwords differ.")
	}
	err = c.access.SetPassword(c.ctx(), c.account(), c.who.Email, secret.String(form.Get("password")), c.who.Email)
	if text := problem(err); text != "" {
		return c.mePage(http.StatusUnprocessableEntity, text)
	}
	if err != nil {
		return err
	}
	// All sessions ended with the old password, this one too.
	return c.begin(c.who, Base+"/me?done=password")
}
