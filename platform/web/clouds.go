// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Clouds is what the dashboard wants for the clouds of an account;
// launch.Service is one.
type Clouds interface {
	AddCloud(ctx context.Context, account int64, spec launch.CloudSpec, by string) ([]store.Cloud, error)
	ChangeCloud(ctx context.Context, account, id int64, spec launch.CloudSpec, by string) error
	RemoveCloud(ctx context.Context, account int64, name, by string) error
}

// cloudForm is what a person can say about a cloud. It never holds a secret key
// that is stored: the page can replace one, not show it.
type cloudForm struct {
	Name, Description, Region, Endpoint string
	Kind                                string // keys or ambient
	AccessKey, Role, ExternalID         string
	Discover                            string
}

type cloudsBody struct {
	Form    cloudForm
	Problem string
	Rows    []cloudRow
	Edits   bool
}

// cloudRow is a cloud without its sealed key.
type cloudRow struct {
	store.Cloud
	Sealed struct{} // hides the field from templates
}

func (c *call) clouds() error {
	return c.cloudsPage(http.StatusOK, cloudForm{Kind: store.CredentialsKeys, Discover: launch.DefaultDiscover.String()}, "")
}

func (c *call) cloudsPage(status int, form cloudForm, text string) error {
	b := cloudsBody{Form: form, Problem: text, Edits: c.opt.Clouds != nil}
	all, err := c.fleet.DB.Clouds(c.ctx(), c.account())
	if err != nil {
		return err
	}
	for _, one := range all {
		b.Rows = append(b.Rows, cloudRow{Cloud: one})
	}
	return c.show(status, "clouds", "Clouds", b)
}

// readCloud reads the form; the secret key goes into the spec and nowhere else.
func (c *call) readCloud() (f cloudForm, spec launch.CloudSpec, err error) {
	form := c.r.PostForm
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	f = cloudForm{Name: get("name"), Description: get("description"), Region: get("region"), Endpoint: get("endpoint"), Kind: form.Get("kind"),
		AccessKey: get("access"), Role: get("role"), ExternalID: get("external"), Discover: get("discover")}
	spec = launch.CloudSpec{Name: f.Name, Description: f.Description, Region: f.Region, EndpointURL: f.Endpoint, Ambient: f.Kind == store.CredentialsAmbient,
		RoleARN: f.Role, ExternalID: f.ExternalID}
	if !spec.Ambient {
		spec.AccessKey, spec.SecretKey = f.AccessKey, secret.String(get("secret"))
	}
	if f.Discover != "" && f.Discover != "0" {
		if spec.Discover, err = time.ParseDuration(f.Discover); err != nil {
			err = &fleet.InvalidError{Text: fmt.Sprintf("Discovery every %q: want a time such as 1m, or 0 for none.", clip(f.Discover, 40))}
		}
	}
	if c.opt.Clouds == nil {
		err = errNoCloud
	}
	return f, spec, err
}

func (c *call) addCloud() error {
	f, spec, err := c.readCloud()
	if err == nil {
		_, err = c.opt.Clouds.AddCloud(c.ctx(), c.account(), spec, c.who.Email)
	}
	if text := problem(err); text != "" {
		return c.cloudsPage(http.StatusUnprocessableEntity, f, text)
	}
	if err != nil {
		return err
	}
	return c.to("/clouds?done=saved")
}

// cloudBody is the page of a cloud.
type cloudBody struct {
	ID      int64
	Row     cloudRow
	Form    cloudForm
	Use     store.CloudUse
	Edits   bool
	Problem string
}

func (c *call) cloudOf() (b cloudBody, err error) {
	id, err := c.id()
	if err != nil {
		return b, err
	}
	row, err := c.fleet.DB.Cloud(c.ctx(), id)
	if err == nil && row.AccountID != c.account() {
		err = fmt.Errorf("cloud %d: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return b, err
	}
	every := "0"
	if row.Discover > 0 {
		every = row.Discover.String()
	}
	b.ID, b.Row, b.Edits = id, cloudRow{Cloud: row}, c.opt.Clouds != nil && row.Region != ""
	b.Form = cloudForm{Name: row.Name, Description: row.Description, Region: row.Region, Endpoint: row.EndpointURL, Kind: row.Credentials,
		AccessKey: row.AccessKey, Role: row.RoleARN, ExternalID: row.ExternalID, Discover: every}
	b.Use, err = c.fleet.DB.CloudUse(c.ctx(), id)
	return b, err
}

func (c *call) cloud() error {
	b, err := c.cloudOf()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "cloud", b.Row.Name, b)
}

func (c *call) setCloud() error {
	b, err := c.cloudOf()
	if err != nil {
		return err
	}
	f, spec, err := c.readCloud()
	if err == nil {
		err = c.opt.Clouds.ChangeCloud(c.ctx(), c.account(), b.ID, spec, c.who.Email)
	}
	b.Form = f
	if b.Problem = problem(err); b.Problem != "" {
		return c.show(http.StatusUnprocessableEntity, "cloud", b.Row.Name, b)
	}
	if err != nil {
		return err
	}
	return c.to(fmt.Sprintf("/clouds/%d?done=saved", b.ID))
}

func (b cloudBody) confirm(text string) confirmBody {
	at := fmt.Sprintf("%s/clouds/%d", Base, b.ID)
	return confirmBody{Question: "Forget the cloud " + b.Row.Name + "?", Text: "Its images and the instances in it that no server has are forgotten. No machine ends.", Label: "Forget", Post: at + "/remove", Back: at, Problem: text, Grave: true}
}

func (c *call) confirmRemoveCloud() error {
	b, err := c.cloudOf()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, "confirm", "Forget", b.confirm(""))
}

func (c *call) removeCloud() error {
	b, err := c.cloudOf()
	if err != nil {
		return err
	}
	if c.opt.Clouds == nil {
		err = errNoCloud
	} else {
		err = c.opt.Clouds.RemoveCloud(c.ctx(), c.account(), b.Row.Name, c.who.Email)
	}
	if text := problem(err); text != "" {
		return c.show(http.StatusUnprocessableEntity, "confirm", "Forget", b.confirm(text))
	}
	if err != nil {
		return err
	}
	return c.to("/clouds?done=deleted")
}
