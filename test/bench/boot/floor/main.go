// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command floor is the least that fetches an instance's metadata: 8 requests at a
// time, no retry, no check, one file. It is a program of its own, so that it links
// and starts no more than that; command boot builds and runs it.
//
//	floor URL FILE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: floor URL FILE")
		os.Exit(2)
	}
	if err := floor(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func floor(ctx context.Context, base, out string) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	slots := make(chan struct{}, 8)
	token := ""
	call := func(method, path, header, value string) (string, error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
		if err != nil {
			return "", err
		}
		req.Header.Set(header, value)
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", path, resp.Status)
		}
		return string(body), err
	}
	token, err := call(http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err != nil {
		return err
	}
	values := map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	var fetch func(path string)
	fetch = func(path string) {
		body, err := call(http.MethodGet, "/latest/meta-data/"+path, "X-aws-ec2-metadata-token", token)
		if err != nil {
			return
		}
		if path != "" && !strings.HasSuffix(path, "/") {
			mu.Lock()
			values[path] = body
			mu.Unlock()
			return
		}
		for name := range strings.SplitSeq(body, "\n") {
			if index, _, ok := strings.Cut(name, "="); ok {
				name = index + "/"
			}
			group.Go(func() { fetch(path + name) })
		}
	}
	group.Go(func() { fetch("") })
	group.Wait()
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o600)
}
