// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package s3

import (
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// find finds a bucket. As on AWS it must be asked for in its own region.
func (s *Service) find(w http.ResponseWriter, r *request, reg *store.Region) (store.Bucket, error) {
	b, ok := reg.Buckets.Get(r.bucket)
	if !ok {
		return b, call.Errorf("NoSuchBucket", "The specified bucket does not exist").WithStatus(http.StatusNotFound)
	}
	w.Header().Set("X-Amz-Bucket-Region", b.Region)
	if b.Region != r.Region {
		return b, call.Errorf("PermanentRedirect", "The bucket %s is in the region %s: sign the request for that region.", b.Name, b.Region).WithStatus(http.StatusMovedPermanently)
	}
	return b, nil
}

func (s *Service) createBucket(w http.ResponseWriter, r *request) error {
	var in struct {
		LocationConstraint string
	}
	if len(r.Body) > 0 && xml.Unmarshal(r.Body, &in) != nil {
		return call.Errorf("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	where := in.LocationConstraint
	if where == "" {
		where = "us-east-1"
	}
	switch {
	case !regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z`).MatchString(r.bucket) || strings.Contains(r.bucket, ".."):
		return call.Errorf("InvalidBucketName", "The specified bucket is not valid.")
	case where != r.Region:
		return call.Errorf("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", where)
	}
	err := s.Store.Update(store.Global, func(reg *store.Region) error {
		if _, there := reg.Buckets.Get(r.bucket); there {
			return call.Errorf("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.").WithStatus(http.StatusConflict)
		}
		return reg.Buckets.Put(store.Bucket{Name: r.bucket, Region: r.Region, Created: s.Store.Now().UTC()})
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/"+r.bucket)
	done(w, r, http.StatusOK)
	return nil
}

func (s *Service) headBucket(w http.ResponseWriter, r *request) error {
	err := s.Store.View(store.Global, func(reg *store.Region) error {
		_, err := s.find(w, r, reg)
		return err
	})
	if err == nil {
		done(w, r, http.StatusOK)
	}
	return err
}

func (s *Service) deleteBucket(w http.ResponseWriter, r *request) error {
	err := s.Store.Update(store.Global, func(reg *store.Region) error {
		if _, err := s.find(w, r, reg); err != nil {
			return err
		}
		for _, o := range reg.Objects.All() {
			if o.Bucket == r.bucket {
				return call.Errorf("BucketNotEmpty", "The bucket you tried to delete is not empty").WithStatus(http.StatusConflict)
			}
		}
		return reg.Buckets.Delete(r.bucket)
	})
	if err == nil {
		done(w, r, http.StatusNoContent)
	}
	return err
}

// getBucketLocation is the one question that any region answers.
func (s *Service) getBucketLocation(w http.ResponseWriter, r *request) error {
	out := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{}
	err := s.Store.View(store.Global, func(reg *store.Region) error {
		b, err := s.find(w, r, reg)
		if err != nil && b.Region == "" {
			return err
		}
		if b.Region != "us-east-1" {
			out.Region = b.Region
		}
		return nil
	})
	if err == nil {
		writeXML(w, r.Call, http.StatusOK, out)
	}
	return err
}

type bucketItem struct {
	Name         string
	CreationDate string
}

func (s *Service) listBuckets(w http.ResponseWriter, r *request) error {
	out := struct {
		XMLName xml.Name     `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner   string       `xml:"Owner>ID"`
		Buckets []bucketItem `xml:"Buckets>Bucket"`
	}{Owner: s.Account}
	err := s.Store.View(store.Global, func(reg *store.Region) error {
		for _, b := range reg.Buckets.All() {
			out.Buckets = append(out.Buckets, bucketItem{b.Name, stamp(b.Created)})
		}
		return nil
	})
	if err == nil {
		writeXML(w, r.Call, http.StatusOK, out)
	}
	return err
}
