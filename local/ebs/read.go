// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

const (
	minPage = 100
	maxPage = 10000
	// tokenLife is what ExpiryTime promises. Our tokens stay good for longer.
	tokenLife = 7 * 24 * time.Hour
)

// listing is what both list calls answer beside their blocks.
type listing struct {
	BlockSize  int     `json:"BlockSize"`
	VolumeSize int64   `json:"VolumeSize"`
	ExpiryTime float64 `json:"ExpiryTime"`
	NextToken  string  `json:"NextToken,omitempty"`
}

type block struct {
	BlockIndex int    `json:"BlockIndex"`
	BlockToken string `json:"BlockToken"`
}

type changedBlock struct {
	BlockIndex       int    `json:"BlockIndex"`
	FirstBlockToken  string `json:"FirstBlockToken,omitempty"`
	SecondBlockToken string `json:"SecondBlockToken,omitempty"`
}

// list names the blocks that hold data.
func (s *Service) list(w http.ResponseWriter, c *call.Call, parts []string) error {
	snap, err := s.inState(c, parts[1], store.SnapshotCompleted)
	if err != nil {
		return err
	}
	pg, err := s.page(c, snap.ID)
	if err != nil {
		return err
	}
	sums, err := s.Store.Sums(c.Region, snap.ID)
	if err != nil {
		return storeError(snap.ID, err)
	}
	blocks := []block{}
	next := pg.collect(len(sums), func(i int) bool { return sums[i] != store.Sum{} }, func(i int) {
		blocks = append(blocks, block{i, s.blockToken(snap.ID, i)})
	})
	writeJSON(w, c.RequestID, http.StatusOK, struct {
		Blocks []block `json:"Blocks"`
		listing
	}{blocks, s.listing(snap, pg, next)})
	return nil
}

// listChanged names the blocks that differ between two snapshots.
func (s *Service) listChanged(w http.ResponseWriter, c *call.Call, parts []string) error {
	second, err := s.inState(c, parts[1], store.SnapshotCompleted)
	if err != nil {
		return err
	}
	sums, err := s.Store.Sums(c.Region, second.ID)
	if err != nil {
		return storeError(second.ID, err)
	}
	firstID := c.HTTP.URL.Query().Get("firstSnapshotId")
	before := make([]store.Sum, len(sums))
	if firstID != "" {
		first, err := s.inState(c, firstID, store.SnapshotCompleted)
		if err != nil {
			return err
		}
		if first.SizeGiB > second.SizeGiB {
			return invalid("UNRELATED_SNAPSHOTS", "The first snapshot '%s' is larger than the second '%s'.", first.ID, second.ID)
		}
		was, err := s.Store.Sums(c.Region, firstID)
		if err != nil {
			return storeError(firstID, err)
		}
		copy(before, was)
	}
	pg, err := s.page(c, firstID+"/"+second.ID)
	if err != nil {
		return err
	}
	blocks := []changedBlock{}
	next := pg.collect(len(sums), func(i int) bool { return sums[i] != before[i] }, func(i int) {
		b := changedBlock{BlockIndex: i}
		if before[i] != (store.Sum{}) {
			b.FirstBlockToken = s.blockToken(firstID, i)
		}
		if sums[i] != (store.Sum{}) {
			b.SecondBlockToken = s.blockToken(second.ID, i)
		}
		blocks = append(blocks, b)
	})
	writeJSON(w, c.RequestID, http.StatusOK, struct {
		ChangedBlocks []changedBlock `json:"ChangedBlocks"`
		listing
	}{blocks, s.listing(second, pg, next)})
	return nil
}

// get reads one block for the bearer of its token.
func (s *Service) get(w http.ResponseWriter, c *call.Call, parts []string) error {
	snap, err := s.inState(c, parts[1], store.SnapshotCompleted)
	if err != nil {
		return err
	}
	index, err := blockIndex(snap, parts[3])
	if err != nil {
		return err
	}
	if _, ok := s.Store.OpenToken(blockScope(snap.ID, index), c.HTTP.URL.Query().Get("blockToken")); !ok {
		return invalid("INVALID_BLOCK_TOKEN", "The block token is not valid for block %d of snapshot '%s'.", index, snap.ID)
	}
	data, sum, err := s.Store.GetBlock(c.Region, snap.ID, index)
	if err != nil {
		return storeError(snap.ID, err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Amzn-Requestid", c.RequestID)
	h.Set("X-Amz-Data-Length", strconv.Itoa(len(data)))
	h.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	h.Set("X-Amz-Checksum-Algorithm", "SHA256")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // the client may be gone
	return nil
}

func blockScope(id string, index int) string { return "block/" + id + "/" + strconv.Itoa(index) }

func (s *Service) blockToken(id string, index int) string {
	return s.Store.Token(blockScope(id, index), "")
}

func (s *Service) listing(snap store.Snapshot, pg page, next int) listing {
	l := listing{
		BlockSize: store.BlockSize, VolumeSize: snap.SizeGiB,
		ExpiryTime: float64(s.Store.Now().Add(tokenLife).UnixMilli()) / 1000,
	}
	if next >= 0 {
		l.NextToken = s.Store.Token(pg.scope, strconv.Itoa(next))
	}
	return l
}

// page is one stretch of a list.
type page struct {
	scope string
	first int
	max   int
}

// page reads the paging parameters; a token takes the place of startingBlockIndex.
func (s *Service) page(c *call.Call, scope string) (page, error) {
	q := c.HTTP.URL.Query()
	pg := page{scope: c.Action + "/" + scope}
	var err error
	if pg.max, err = number(q, "maxResults", maxPage, minPage, maxPage); err != nil {
		return pg, err
	}
	if pg.first, err = number(q, "startingBlockIndex", 0, 0, 1<<31-1); err != nil {
		return pg, err
	}
	if token := q.Get("pageToken"); token != "" {
		text, ok := s.Store.OpenToken(pg.scope, token)
		if pg.first, err = strconv.Atoi(text); !ok || err != nil {
			return pg, invalid("INVALID_PAGE_TOKEN", "The page token is not valid for this request.")
		}
	}
	return pg, nil
}

func number(q url.Values, name string, absent, low, high int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, invalid("INVALID_PARAMETER_VALUE", "%s must be between %d and %d, but is '%s'", name, low, high, text)
	}
	return n, nil
}

// collect adds the wanted indexes of this page and returns where the next one
// begins, -1 when there is none.
func (p page) collect(n int, wanted func(int) bool, add func(int)) int {
	got := 0
	for i := p.first; i < n; i++ {
		if !wanted(i) {
			continue
		}
		if got == p.max {
			return i
		}
		add(i)
		got++
	}
	return -1
}
