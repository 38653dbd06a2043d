// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

const (
	small    = 4096 // the size of blocks here
	gib      = sparse.GiB
	pageSize = 7
)

// service has a snapshot, and can go wrong.
type service struct {
	blocks map[int32][]byte
	// wrong is asked before each call: what it answers instead, and how the data
	// are changed.
	wrong func(call string, nth int) error
	spoil func(nth int, data []byte)
	slow  time.Duration

	mu    sync.Mutex
	calls map[string]int
	now   int
	most  int // calls at a time
	gets  map[int32]int
}

func newService(indexes ...int32) *service {
	s := &service{blocks: map[int32][]byte{}, calls: map[string]int{}, gets: map[int32]int{}}
	for _, i := range indexes {
		data := bytes.Repeat([]byte(strconv.Itoa(int(i))+" "), small)
		s.blocks[i] = data[:small]
	}
	return s
}

func (s *service) call(name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
	nth := s.calls[name]
	if s.wrong == nil {
		return nth, nil
	}
	return nth, s.wrong(name, nth)
}

func (s *service) ListSnapshotBlocks(_ context.Context, in *ebs.ListSnapshotBlocksInput, _ ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error) {
	if _, err := s.call("List"); err != nil {
		return nil, err
	}
	out := &ebs.ListSnapshotBlocksOutput{VolumeSize: aws.Int64(1), BlockSize: aws.Int32(small)}
	from, _ := strconv.Atoi(aws.ToString(in.NextToken))
	for i := int32(from); i < gib/small; i++ {
		if _, ok := s.blocks[i]; !ok {
			continue
		}
		if len(out.Blocks) == pageSize {
			out.NextToken = aws.String(strconv.Itoa(int(i)))
			break
		}
		out.Blocks = append(out.Blocks, ebstypes.Block{BlockIndex: aws.Int32(i), BlockToken: aws.String(fmt.Sprint("token ", i))})
	}
	return out, nil
}

func (s *service) GetSnapshotBlock(ctx context.Context, in *ebs.GetSnapshotBlockInput, _ ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error) {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.gets[*in.BlockIndex]++
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	time.Sleep(s.slow)
	nth, err := s.call("Get")
	if errors.Is(err, errHang) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if *in.BlockToken != fmt.Sprint("token ", *in.BlockIndex) {
		return nil, &smithy.GenericAPIError{Code: "ValidationException"}
	}
	data := bytes.Clone(s.blocks[*in.BlockIndex])
	sum := sparse.Checksum(data).Base64()
	if s.spoil != nil {
		s.spoil(nth, data)
	}
	return &ebs.GetSnapshotBlockOutput{BlockData: io.NopCloser(bytes.NewReader(data)), Checksum: aws.String(sum)}, nil
}

var errHang = errors.New("hang")

// whole is the content of the snapshot's beginning.
func (s *service) whole(blocks int) []byte {
	out := make([]byte, blocks*small)
	for i, data := range s.blocks {
		if int(i) < blocks {
			copy(out[int(i)*small:], data)
		}
	}
	return out
}

func quick() Options {
	return Options{Pause: time.Millisecond, AttemptTimeout: time.Second, Concurrency: 4, Ahead: 3}
}

func open(t *testing.T, s *service, o Options) *Disk {
	t.Helper()
	d, err := Open(t.Context(), s, "snap-1", o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestReadAt(t *testing.T) {
	s := newService(0, 1, 2, 5, 6, 9, 10, 11, 12, 13, 20, 30, 31, 40, gib/small-1)
	d := open(t, s, quick())
	require.EqualValues(t, gib, d.Size())
	require.EqualValues(t, 15*small, d.Data())
	require.Equal(t, 3, s.calls["List"])
	require.Zero(t, s.calls["Get"], "nothing is read before it is asked for")
	want := s.whole(50)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := random.IntN(len(want) - 1)
		p := bytes.Repeat([]byte{0xee}, 1+random.IntN(min(5*small, len(want)-off)))
		n, err := d.ReadAt(p, int64(off))
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		require.True(t, bytes.Equal(want[off:off+n], p), "%d bytes at %d", n, off)
	}
	// The end is that of a file.
	p := make([]byte, 100)
	n, err := d.ReadAt(p, gib-10)
	require.Equal(t, 10, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = d.ReadAt(p, gib)
	require.ErrorIs(t, err, io.EOF)
	_, err = d.ReadAt(p, -1)
	require.Error(t, err)
	block := make([]byte, small)
	require.NoError(t, d.Read(gib/small-1, block))
	require.Equal(t, s.blocks[gib/small-1], block)
	require.NoError(t, d.Read(3, block))
	require.True(t, sparse.IsZero(block))
}

// Reading from the beginning to the end asks for every block once, several at a
// time, and keeps no more than it should.
func TestReadsAheadInBoundedMemory(t *testing.T) {
	var indexes []int32
	for i := range int32(400) {
		indexes = append(indexes, 3*i)
	}
	s := newService(indexes...)
	o := quick()
	o.Concurrency, s.slow = 8, 200*time.Microsecond
	d := open(t, s, o)
	var wg sync.WaitGroup
	for part := range 3 {
		wg.Go(func() {
			buf := make([]byte, small)
			for _, i := range indexes[part*133 : (part+1)*133] {
				if err := d.Read(int64(i), buf); err != nil || !bytes.Equal(buf, s.blocks[i]) {
					t.Errorf("block %d: %v", i, err)
				}
				d.mu.Lock()
				kept := len(d.slots)
				d.mu.Unlock()
				if kept > d.o.most() {
					t.Errorf("%d blocks are kept", kept)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, d.Close()) // what is read ahead may not have ended
	require.LessOrEqual(t, s.most, 8)
	require.Greater(t, s.most, 1)
	for i, n := range s.gets {
		require.LessOrEqual(t, n, 2, "block %d", i) // twice where one reader ends and another has begun
	}
}

func TestTroubleIsOvercome(t *testing.T) {
	throttled := &smithy.GenericAPIError{Code: "RequestThrottledException"}
	unknown := &smithy.GenericAPIError{Code: "ResourceNotFoundException"}
	for name, tc := range map[string]struct {
		wrong func(string, int) error
		spoil func(int, []byte)
	}{
		"throttled":     {func(_ string, n int) error { return map[bool]error{true: throttled}[n%3 != 0] }, nil},
		"not known yet": {func(call string, n int) error { return map[bool]error{true: unknown}[call == "List" && n < 4] }, nil},
		"broken":        {nil, func(n int, data []byte) { data[n%small] ^= byte(n % 2) }},
		"hangs":         {func(call string, n int) error { return map[bool]error{true: errHang}[call == "Get" && n == 2] }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
			s.wrong, s.spoil = tc.wrong, tc.spoil
			o := quick()
			o.AttemptTimeout, o.NotYet = 50*time.Millisecond, time.Minute
			d := open(t, s, o)
			got := make([]byte, 12*small)
			_, err := d.ReadAt(got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(s.whole(12), got))
		})
	}
}

func TestTroubleThatStays(t *testing.T) {
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException"}
	s := newService(0, 1)
	s.wrong = func(string, int) error { return denied }
	_, err := Open(t.Context(), s, "snap-1", quick())
	require.ErrorContains(t, err, "list the blocks of snap-1")
	require.Equal(t, 1, s.calls["List"], "no repetition mends it")

	s.wrong = func(call string, _ int) error { return map[bool]error{true: denied}[call == "Get"] }
	d := open(t, s, quick())
	_, err = d.ReadAt(make([]byte, 10), 0)
	require.ErrorContains(t, err, "block 0 of snap-1")
	path := filepath.Join(t.TempDir(), "copy")
	require.ErrorContains(t, d.Copy(path, nil), "AccessDenied")
	require.NoFileExists(t, path)

	s.wrong, s.spoil = nil, func(_ int, data []byte) { data[0]++ }
	d = open(t, s, Options{Pause: time.Millisecond, Tries: 3})
	_, err = d.ReadAt(make([]byte, 10), 0)
	require.ErrorIs(t, err, errBroken)
}

// A cancel ends what is on its way, and whoever waits for it.
func TestCancel(t *testing.T) {
	s := newService(0, 1, 2)
	s.wrong = func(call string, _ int) error { return map[bool]error{true: errHang}[call == "Get"] }
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Open(ctx, s, "snap-1", Options{AttemptTimeout: time.Hour})
	require.NoError(t, err)
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = d.ReadAt(make([]byte, 10), 0)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, d.Copy(filepath.Join(t.TempDir(), "copy"), nil), context.Canceled)
	require.NoError(t, d.Close())
}

func TestCopy(t *testing.T) {
	s := newService(0, 7, 8, 1000, gib/small-1)
	s.blocks[8] = make([]byte, small) // there, but zero
	d := open(t, s, quick())
	path := filepath.Join(t.TempDir(), "copy.raw")
	var mu sync.Mutex
	var last int64
	require.NoError(t, d.Copy(path, func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		last = max(last, done)
		if total != 5*small {
			t.Errorf("a total of %d", total)
		}
	}))
	require.EqualValues(t, 5*small, last)
	got, err := sparse.Open(path)
	require.NoError(t, err)
	defer got.Close()
	require.EqualValues(t, gib, got.Size())
	buf, want := make([]byte, small), make([]byte, small)
	for _, i := range []int64{0, 1, 7, 8, 999, 1000, gib/small - 1} {
		_, err := got.ReadAt(buf, i*small)
		require.NoError(t, err)
		require.NoError(t, d.Read(i, want))
		require.Equal(t, want, buf, "block %d", i)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	require.ErrorIs(t, d.Copy(path, nil), os.ErrExist)
	require.FileExists(t, path, "somebody else's")
}
