// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

// BootTested reports whether the image is launched before anybody else sees it.
func (c Config) BootTested() bool { return c.BootTest.Wanted(c.Everybody()) }

// bootTest launches the image of the first region while nobody else can see it,
// looks at the machine, and ends it again. The copies are the same disk.
func (p *Publisher) bootTest(ctx context.Context, b *build) error {
	if !p.BootTested() {
		return nil
	}
	r, i := p.regions[0], b.first
	if i == nil {
		i = b.images[r]
	}
	waivers, err := p.waivers()
	if err != nil {
		return err
	}
	var owed ledger.Ledger
	test := boottest.Test{
		Config: p.BootTest, EC2: r.machines, Region: r.name, Image: i.described, Build: p.publishID, Owed: &owed,
		Waiter: p.waiter(), Fresh: r.notYet / unknownShare, Known: r.notYet, Local: localcloud.OnThisMachine(r.endpoint),
		Public: p.Everybody(), Waivers: waivers, Explain: r.explain, Command: r.command, Say: p.say,
	}
	err = test.Run(ctx)
	left := owed.Settle(ctx, p.UndoTimeout)
	switch {
	case err != nil && left != nil:
		return fmt.Errorf("%w\n%w", err, left)
	case left != nil:
		b.left = append(b.left, left.Error()) // the image is good all the same
	}
	return err
}
