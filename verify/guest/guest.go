// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package guest cleans and verifies in one go, on the far side of a communicator:
// the provisioner sends options in and gets a result out, as JSON.
package guest

import (
	"context"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/clean"
)

// Options say what is done.
type Options struct {
	Clean  bool `json:"clean"`
	Verify bool `json:"verify"`
	Public bool `json:"public"`
	// Keep are patterns of paths that the clean-up leaves: those of the build
	// itself.
	Keep        []string        `json:"keep,omitempty"`
	RemoveUsers []string        `json:"remove_users,omitempty"`
	FreeSpace   clean.FreeSpace `json:"free_space,omitempty"`
	Users       []string        `json:"users,omitempty"`
	Waivers     []verify.Waiver `json:"waivers,omitempty"`
	// SourceDate is the latest time that a file may have, in seconds since 1970; 0
	// leaves times as they are.
	SourceDate int64 `json:"source_date,omitempty"`
}

// Result is what was done and found.
type Result struct {
	Clean  *clean.Result  `json:"clean,omitempty"`
	Report *verify.Report `json:"report,omitempty"`
}

// Run cleans, then verifies.
func Run(ctx context.Context, root string, o Options) (*Result, error) {
	var r Result
	var err error
	if o.Clean {
		options := clean.Options{Keep: o.Keep, RemoveUsers: o.RemoveUsers, FreeSpace: o.FreeSpace}
		if o.SourceDate > 0 {
			options.SourceDate = time.Unix(o.SourceDate, 0)
		}
		r.Clean, err = clean.Run(ctx, root, options)
		if err != nil {
			return nil, fmt.Errorf("clean: %w", err)
		}
	}
	if o.Verify {
		r.Report, err = verify.Run(ctx, root, verify.Options{Public: o.Public, Users: o.Users, Waivers: o.Waivers, Ignore: o.Keep})
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	return &r, nil
}
