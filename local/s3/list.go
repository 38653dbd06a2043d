// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type objectItem struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

type prefixItem struct{ Prefix string }

type listResult struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	Contents              []objectItem
	CommonPrefixes        []prefixItem
}

// entry is an object, or all objects with a common prefix.
type entry struct {
	name   string
	object *store.Object
}

// listObjects lists the objects of a bucket, those below a delimiter as one.
func (s *Service) listObjects(w http.ResponseWriter, r *request) error {
	most, err := strconv.Atoi(orText(r.query.Get("max-keys"), "1000"))
	if err != nil || most < 0 {
		return call.Errorf("InvalidArgument", "Provided max-keys not an integer or within integer range")
	}
	most = min(most, 1000)
	after := r.query.Get("start-after")
	scope := "s3/" + r.bucket + "/" + r.query.Get("prefix") + "/" + r.query.Get("delimiter")
	if token := r.query.Get("continuation-token"); token != "" {
		var ok bool
		if after, ok = s.Store.OpenToken(scope, token); !ok {
			return call.Errorf("InvalidArgument", "The continuation token provided is incorrect")
		}
	}
	var objects []store.Object
	err = s.Store.View(store.Global, func(reg *store.Region) error {
		objects = reg.Objects.All()
		_, err := s.find(w, r, reg)
		return err
	})
	if err != nil {
		return err
	}
	objects = slices.DeleteFunc(objects, func(o store.Object) bool { return o.Bucket != r.bucket })
	entries := group(objects, r.query.Get("prefix"), r.query.Get("delimiter"), after)
	out := listResult{
		Name: r.bucket, Prefix: r.query.Get("prefix"), Delimiter: r.query.Get("delimiter"), StartAfter: r.query.Get("start-after"),
		ContinuationToken: r.query.Get("continuation-token"), EncodingType: r.query.Get("encoding-type"), MaxKeys: most,
	}
	if len(entries) > most {
		entries, out.IsTruncated = entries[:most], true
		if most > 0 {
			out.NextContinuationToken = s.Store.Token(scope, entries[most-1].name)
		}
	}
	out.fill(entries)
	writeXML(w, r.Call, http.StatusOK, out)
	return nil
}

// group sorts the objects by key and puts together what has the same beginning
// up to the delimiter.
func group(objects []store.Object, prefix, delimiter, after string) []entry {
	slices.SortFunc(objects, func(a, b store.Object) int { return strings.Compare(a.Key, b.Key) })
	var out []entry
	for i, o := range objects {
		rest, ok := strings.CutPrefix(o.Key, prefix)
		if !ok {
			continue
		}
		e := entry{o.Key, &objects[i]}
		if head, _, below := strings.Cut(rest, delimiter); below && delimiter != "" {
			e = entry{prefix + head + delimiter, nil}
		}
		if e.name <= after || len(out) > 0 && out[len(out)-1].name == e.name {
			continue
		}
		out = append(out, e)
	}
	return out
}

func (l *listResult) fill(entries []entry) {
	encode := func(s string) string { return s }
	if l.EncodingType == "url" {
		encode = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
		l.Prefix, l.Delimiter, l.StartAfter = encode(l.Prefix), encode(l.Delimiter), encode(l.StartAfter)
	}
	l.KeyCount = len(entries)
	for _, e := range entries {
		if e.object == nil {
			l.CommonPrefixes = append(l.CommonPrefixes, prefixItem{encode(e.name)})
			continue
		}
		l.Contents = append(l.Contents, objectItem{encode(e.name), stamp(e.object.Modified), e.object.ETag, e.object.Size, "STANDARD"})
	}
}

func orText(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
