// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// trouble is what a service does to block requests.
type trouble struct {
	throttle, broken, reset, lost float64 // shares of requests

	perSecond float64       // cap, with a burst of a tenth of a second
	latency   time.Duration // of each request
	bandwidth float64       // bytes per second of all requests together
	hangAfter int           // after so many requests, for hangFor
	hangFor   time.Duration
}

// service keeps snapshots and gives trouble. It serves in memory as a Writer,
// and over HTTP through handler.
type service struct {
	blockSize int64
	trouble   trouble
	fail      func(action string, nth int, index int64) error // may fail any call
	sum       func(index int64, data []byte) sparse.Sum       // of what came in

	mu       sync.Mutex
	rng      *rand.Rand
	calls    map[string]int
	snaps    map[string]*snap
	tokens   map[string]string
	puts     map[int64]int // requests that stored the block
	inside   int
	most     int // requests at a time
	tokensAt time.Time
	left     float64
	lineFree time.Time // when the line is free again
	hangEnd  time.Time
}

type snap struct {
	token, parent string
	blocks        map[int64]sparse.Sum
	sealed        bool
}

func newService(blockSize int64, t trouble) *service {
	return &service{
		blockSize: blockSize, trouble: t, rng: rand.New(rand.NewPCG(1, 2)), calls: map[string]int{},
		sum:   func(_ int64, data []byte) sparse.Sum { return sparse.Checksum(data) },
		snaps: map[string]*snap{}, tokens: map[string]string{}, puts: map[int64]int{},
	}
}

// verdict is how a request ends.
type verdict int

const (
	fine verdict = iota
	throttled
	broken
	reset // nothing is stored, the connection ends
	lost  // it is stored, the connection ends
)

// count counts a call and asks fail.
func (s *service) count(action string, index int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[action]++
	if s.fail == nil {
		return nil
	}
	return s.fail(action, s.calls[action], index)
}

// put takes a block, in its own time.
func (s *service) put(ctx context.Context, id string, index int64, data []byte, checksum string) (verdict, error) {
	if err := s.count("PutSnapshotBlock", index); err != nil {
		return fine, err
	}
	v, pause := s.judge(len(data))
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		s.leave()
		return fine, ctx.Err()
	}
	defer s.leave()
	if v != fine && v != lost {
		return v, nil
	}
	sum := s.sum(index, data)
	if checksum != sum.Base64() {
		return fine, &ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidBlock, Message: aws.String("checksum")}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.snaps[id]
	if snap == nil {
		return fine, &ebstypes.ResourceNotFoundException{Message: aws.String("no such snapshot")}
	}
	if snap.sealed {
		return fine, &ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidSnapshotId, Message: aws.String("not pending")}
	}
	snap.blocks[index] = sum
	s.puts[index]++
	return v, nil
}

func (s *service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
}

// judge decides how a request ends, and when.
func (s *service) judge(size int) (verdict, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.inside++
	s.most = max(s.most, s.inside)
	pause := s.trouble.latency
	if bw := s.trouble.bandwidth; bw > 0 {
		if s.lineFree.Before(now) {
			s.lineFree = now
		}
		s.lineFree = s.lineFree.Add(time.Duration(float64(size) / bw * float64(time.Second)))
		pause += s.lineFree.Sub(now)
	}
	if n := s.trouble.hangAfter; n > 0 && s.calls["PutSnapshotBlock"] >= n {
		if s.hangEnd.IsZero() {
			s.hangEnd = now.Add(s.trouble.hangFor)
		}
		pause += max(s.hangEnd.Sub(now), 0)
	}
	if rate := s.trouble.perSecond; rate > 0 {
		if s.tokensAt.IsZero() {
			s.left = rate / 10
		} else {
			s.left = min(s.left+now.Sub(s.tokensAt).Seconds()*rate, rate/10)
		}
		s.tokensAt = now
		if s.left < 1 {
			return throttled, s.trouble.latency
		}
		s.left--
	}
	for v, share := range map[verdict]float64{throttled: s.trouble.throttle, broken: s.trouble.broken, reset: s.trouble.reset, lost: s.trouble.lost} {
		if share > 0 && s.rng.Float64() < share {
			return v, pause
		}
	}
	return fine, pause
}

func (s *service) start(in *ebs.StartSnapshotInput) (*ebs.StartSnapshotOutput, error) {
	if err := s.count("StartSnapshot", -1); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ebs.StartSnapshotOutput{BlockSize: aws.Int32(int32(s.blockSize)), VolumeSize: in.VolumeSize}
	id, again := s.tokens[*in.ClientToken]
	if !again {
		id = fmt.Sprintf("snap-%d", len(s.tokens)+1)
		parent := aws.ToString(in.ParentSnapshotId)
		if parent != "" && s.snaps[parent] == nil {
			return nil, &ebstypes.ResourceNotFoundException{Message: aws.String("no such parent")}
		}
		if parent != "" && in.Encrypted != nil {
			return nil, &ebstypes.ValidationException{Message: aws.String("parent and encryption")}
		}
		s.tokens[*in.ClientToken] = id
		s.snaps[id] = &snap{token: *in.ClientToken, parent: parent, blocks: map[int64]sparse.Sum{}}
	}
	out.SnapshotId = aws.String(id)
	return out, nil
}

func (s *service) complete(id string, count int32, checksum string) error {
	if err := s.count("CompleteSnapshot", -1); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.snaps[id]
	if snap == nil {
		return &ebstypes.ResourceNotFoundException{Message: aws.String("no such snapshot")}
	}
	if snap.sealed {
		return &ebstypes.ConflictException{Message: aws.String("completed already")}
	}
	var all sparse.Linear
	for index, sum := range snap.blocks {
		all.Add(index, sum)
	}
	if all.Len() != int(count) || all.Aggregate().Base64() != checksum {
		return &ebstypes.ValidationException{Message: aws.String(fmt.Sprintf("%d blocks with another sum, not %d", all.Len(), count))}
	}
	snap.sealed = true
	return nil
}

// content is what a snapshot holds, parents included; zeros are left out.
func (s *service) content(id string) map[int64]sparse.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[int64]sparse.Sum{}
	var chain []*snap
	for ; id != ""; id = s.snaps[id].parent {
		chain = append(chain, s.snaps[id])
	}
	zero := sparse.Checksum(make([]byte, s.blockSize))
	for i := len(chain) - 1; i >= 0; i-- {
		for index, sum := range chain[i].blocks {
			all[index] = sum
			if sum == zero {
				delete(all, index)
			}
		}
	}
	return all
}

func (s *service) state(_ context.Context, id string) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch snap := s.snaps[id]; {
	case snap == nil:
		return Absent, nil
	case snap.sealed:
		return Completed, nil
	default:
		return Pending, nil
	}
}

func (s *service) number(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}
