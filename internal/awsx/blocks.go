// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// blockClient is the HTTP client for bodies of half a mebibyte, which want
// connections of their own: HTTP/2 would put them all on one. It has no
// time-outs beside those of the dialler: whoever moves blocks sets deadlines.
func blockClient(client aws.HTTPClient) aws.HTTPClient {
	base, ok := client.(*awshttp.BuildableClient)
	if !ok {
		return client
	}
	return base.WithTransportOptions(func(t *http.Transport) {
		t.ForceAttemptHTTP2 = false
		dial, settings, limit := t.DialContext, t.TLSClientConfig, t.TLSHandshakeTimeout
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return blockConn{conn}, nil
		}
		t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			own := settings.Clone()
			own.ServerName = cmp.Or(own.ServerName, host)
			own.NextProtos = []string{"http/1.1"}
			secure := tls.Client(conn, own)
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return blockConn{secure}, nil
		}
	}).Freeze()
}

// blockConn writes what a body has left in one piece and out of its own memory,
// where the transport would copy it through a buffer of 32 KiB allocated for
// each request.
type blockConn struct{ net.Conn }

// ReadFrom is what the transport calls with the rest of a body, limited to the
// length that was announced.
func (c blockConn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(onlyWriter{c.Conn}, r)
	}
	body, ok := limited.R.(io.WriterTo)
	if !ok {
		return io.Copy(onlyWriter{c.Conn}, r)
	}
	n, err := body.WriteTo(&limitedWriter{w: c.Conn, left: limited.N})
	limited.N -= n
	return n, err
}

// onlyWriter hides what else a connection can do.
type onlyWriter struct{ io.Writer }

// limitedWriter takes no more than was announced.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errors.New("the body is longer than its Content-Length")
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}
