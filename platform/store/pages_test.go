// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Lists are filtered and cut in the database, on each database alike.
func TestPages(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	tmpl, err := db.PutServerTemplate(ctx, ServerTemplate{AccountID: 1, Name: "t", MultiCloudImages: []byte("[]"), Alerts: []byte("[]")}, nil, now)
	require.NoError(t, err)
	var last int64
	for i, name := range []string{"web-1", "WEB-2", "100%", "a_b", `back\slash`, "axb"} {
		state := []string{"inactive", "operational"}[i%2]
		last, err = db.CreateServer(ctx, Server{AccountID: 1, Name: name, TemplateID: tmpl, State: state, Allow: []byte("{}")}, nil, now)
		require.NoError(t, err)
	}
	for text, want := range map[string]int{"": 6, "web": 2, "WEB-2": 1, "%": 1, "_": 1, `\`: 1, "nothing": 0} {
		list, total, err := db.ServersPage(ctx, 1, Page{Contains: text, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []int{want, want}, []int{len(list), total}, text)
	}
	list, total, err := db.ServersPage(ctx, 1, Page{State: "operational", Limit: 2, Offset: 2})
	require.NoError(t, err)
	require.Equal(t, []int{1, 3}, []int{len(list), total})
	list, total, err = db.ServersPage(ctx, 2, Page{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, list)
	require.Zero(t, total, "another account's")
	states, err := db.ServerStates(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, []StateCount{{"inactive", 3}, {"operational", 3}}, states)

	// An instance that nobody has seen yet is in no list.
	_, err = db.CreateInstance(ctx, Instance{AccountID: 1, CloudID: 1, ServerID: last, UID: "HIDDEN", State: "pending"}, now)
	require.NoError(t, err)
	managed, err := db.CreateInstance(ctx, Instance{AccountID: 1, CloudID: 1, ServerID: last, UID: "A1", State: "pending"}, now)
	require.NoError(t, err)
	require.NoError(t, db.DeclareInstance(ctx, Instance{ID: managed, ResourceUID: "i-1", ImageUID: "ami-1"}, now))
	_, err = db.CreateRawInstance(ctx, Instance{AccountID: 1, CloudID: 1, UID: "B2", ResourceUID: "i-2", Name: "Bastion", State: "running", SeenCloudID: 1}, now)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		page  Page
		owner Owner
		want  []string
	}{
		"all":       {Page{}, OwnerAny, []string{"B2", "A1"}},
		"raw":       {Page{}, OwnerNobody, []string{"B2"}},
		"managed":   {Page{}, OwnerServer, []string{"A1"}},
		"by server": {Page{Contains: "AXB"}, OwnerAny, []string{"A1"}},
		"by image":  {Page{Contains: "ami-1"}, OwnerAny, []string{"A1"}},
		"by name":   {Page{Contains: "bast"}, OwnerAny, []string{"B2"}},
		"by state":  {Page{State: "running"}, OwnerAny, []string{"B2"}},
		"none":      {Page{Contains: "bast"}, OwnerServer, nil},
	} {
		c.page.Limit = 10
		found, total, err := db.InstancesPage(ctx, 1, c.page, c.owner)
		require.NoError(t, err, name)
		var uids []string
		for _, i := range found {
			uids = append(uids, i.UID)
		}
		require.Equal(t, c.want, uids, name)
		require.Equal(t, len(c.want), total, name)
	}
	states, err = db.InstanceStates(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, []StateCount{{"pending", 1}, {"running", 1}}, states)
	inst, err := db.InstanceByUID(ctx, 1, "B2")
	require.NoError(t, err)
	require.Equal(t, "i-2", inst.ResourceUID)
	_, err = db.InstanceByUID(ctx, 2, "B2")
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, db.PutImage(ctx, Image{CloudID: 1, UID: "X", ResourceUID: "ami-1", Name: "Debian"}, now))
	for text, want := range map[string]int{"deb": 1, "AMI-1": 1, "x": 0} {
		_, total, err := db.ImagesPage(ctx, 1, Page{Contains: text, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, want, total, text)
	}
}

// The trail is read backwards, and a text from any byte on.
func TestAuditBackwards(t *testing.T) {
	ctx := context.Background()
	db, _ := open(t)
	var ids []int64
	for i := range 5 {
		id, err := db.CreateAuditEntry(ctx, AuditEntry{AccountID: 1, Summary: fmt.Sprintf("Entry %d", i), Notify: "None"}, now)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	page := func(p AuditPage) (found []int64) {
		p.AccountID = max(p.AccountID, 1)
		list, err := db.AuditBackwards(ctx, p)
		require.NoError(t, err)
		for _, e := range list {
			found = append(found, e.ID)
		}
		return found
	}
	require.Equal(t, []int64{ids[4], ids[3]}, page(AuditPage{Limit: 2}))
	require.Equal(t, []int64{ids[2], ids[1]}, page(AuditPage{Limit: 2, Before: ids[3]}))
	require.Equal(t, []int64{ids[1]}, page(AuditPage{Limit: 9, Contains: "ENTRY 1"}))
	require.Empty(t, page(AuditPage{Limit: 9, ServerID: 7}))
	require.Empty(t, page(AuditPage{Limit: 9, InstanceID: 7}))
	require.Empty(t, page(AuditPage{Limit: 9, AccountID: 2}))

	for at, text := range map[int64]string{0: "one", 3: "two", 10: "late"} {
		require.NoError(t, db.AddDetailPart(ctx, ids[0], DetailPart{at, []byte(text)}))
	}
	parts, err := db.DetailPartsFrom(ctx, ids[0], 3, 10)
	require.NoError(t, err)
	require.Equal(t, []DetailPart{{3, []byte("two")}, {10, []byte("late")}}, parts)
	parts, err = db.DetailPartsFrom(ctx, ids[0], 2, 1)
	require.NoError(t, err)
	require.Equal(t, []DetailPart{{0, []byte("one")}}, parts)
}
