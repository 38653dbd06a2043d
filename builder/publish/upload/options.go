// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"cmp"
	"time"
)

// QuotaPerSecond is how many PutSnapshotBlock requests an account may make per
// second in a region, and likewise for one snapshot. Source: "Amazon EBS
// endpoints and quotas", https://docs.aws.amazon.com/general/latest/gr/ebs-service.html
const QuotaPerSecond = 1000

// Defaults of Options.
const (
	DefaultConcurrency    = 64
	DefaultAttemptTimeout = 30 * time.Second
	DefaultStallTimeout   = 5 * time.Minute
	DefaultTotalTimeout   = 24 * time.Hour
	DefaultNotYet         = 2 * time.Minute // that long was observed
	DefaultReportEvery    = 10 * time.Second
)

// Options says how the disk is moved. The zero value of each field is its
// default.
type Options struct {
	// Concurrency is the most requests at a time, and with it the most blocks
	// in memory. How many there are at any time follows from what the service
	// takes.
	Concurrency int
	// RequestsPerSecond is the most block requests per second. Default
	// QuotaPerSecond.
	RequestsPerSecond float64
	// AttemptTimeout is how long one try of one request may take.
	AttemptTimeout time.Duration
	// StallTimeout ends the upload when nothing was stored for that long.
	StallTimeout time.Duration
	// TotalTimeout ends the upload in any case.
	TotalTimeout time.Duration
	// NotYet is how long after its start a snapshot may still be unknown to
	// some of the service's machines.
	NotYet time.Duration
	// Journal is the file that makes the upload resumable, one per region and
	// image; "" for none.
	Journal string
	// Parent is a snapshot that most of the disk may be in already.
	Parent *Parent
	// Sums are shared by the uploads of one disk to several regions, so that
	// each block is hashed once.
	Sums *Sums
	// Report is called every ReportEvery and once at the end.
	Report      func(Progress)
	ReportEvery time.Duration
	// Say is told in a line what is unusual: a resumed upload, a parent that
	// does not fit.
	Say func(line string)
}

// Parent is a finished snapshot in the target's region. The caller checks that
// its encryption is the wanted one: the new snapshot inherits it.
type Parent struct {
	SnapshotID string
	// Manifest says what the snapshot holds; nil: it is read back.
	Manifest *Manifest
}

// Snapshot is what an upload made.
type Snapshot struct {
	ID string
	// Token is what the snapshot was started with: by the run that started it.
	Token string
	// Checksum is the linear aggregate of the sums of all blocks that hold
	// data, in base64. It depends on the disk alone.
	Checksum    string
	Resumed     bool // an earlier run had started it
	Incremental bool // on a parent
	// SentBlocks and SentBytes count what this run stored, TotalBlocks what the
	// disk holds.
	SentBlocks, SentBytes, TotalBlocks int64
	// Manifest lets a later upload be incremental.
	Manifest *Manifest

	forget func() error
}

// Forget ends the possibility to resume: the snapshot became a product, or will
// be deleted. Until then no other upload can use the journal, and a run that is
// killed finds the finished snapshot again.
func (s *Snapshot) Forget() error {
	if s == nil || s.forget == nil {
		return nil
	}
	return s.forget()
}

func (o Options) withDefaults() Options {
	o.Concurrency = cmp.Or(o.Concurrency, DefaultConcurrency)
	o.RequestsPerSecond = cmp.Or(o.RequestsPerSecond, QuotaPerSecond)
	o.AttemptTimeout = cmp.Or(o.AttemptTimeout, DefaultAttemptTimeout)
	o.StallTimeout = cmp.Or(o.StallTimeout, DefaultStallTimeout)
	o.TotalTimeout = cmp.Or(o.TotalTimeout, DefaultTotalTimeout)
	o.NotYet = cmp.Or(o.NotYet, DefaultNotYet)
	o.ReportEvery = cmp.Or(o.ReportEvery, DefaultReportEvery)
	if o.Sums == nil {
		o.Sums = &Sums{}
	}
	if o.Report == nil {
		o.Report = func(Progress) {}
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	return o
}
