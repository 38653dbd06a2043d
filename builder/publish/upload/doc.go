// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package upload moves a raw disk into an EBS snapshot through the EBS direct
// APIs. It knows snapshots and blocks, no images.
//
// What is moved. Holes are found with SEEK_DATA and SEEK_HOLE and never read.
// Of the rest each block is read once and hashed once, also when several regions
// get the disk; blocks of zeros, and blocks that the snapshot holds already, are
// not sent. What the snapshot holds is known from three layers (content): what
// this run and an earlier one stored in it, the parent below, zeros below that.
//
// How fast. Two things adapt, each by what it measures:
//   - the requests per second (pace) start at the quota and, once the service
//     throttles, follow what it takes;
//   - the requests at a time (gate, width) grow as long as throughput grows with
//     them, and shrink when answers come too late or there are too many at once.
//
// A block is read only when there is a place for it, so there are never more in
// memory than requests at a time, whatever the size of the disk; beside them
// there are 32 bytes per block for the sums.
//
// What may go wrong. One table (rules) says what each class of errors means.
// Whatever a service does by its own rules, such as throttling, 5xx, resets,
// lost replies or not answering for a while, is waited out; every try has a
// deadline, a standstill ends the upload, and so does the deadline of the whole.
// There is one layer of repetition: the client repeats nothing.
//
// What is guaranteed. A snapshot is completed with the number and the aggregate
// of the sums of all blocks that were ever stored in it, so that the service
// itself finds out if anything is missing or is not what was meant. With a
// journal, a run that was killed is gone on with: what it stored is not sent
// again unless the disk has changed, what was under way then is. A journal that
// turns out to be wrong costs a full upload, never a wrong snapshot.
package upload
