// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package router

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// maxMessage bounds what an agent sends: acknowledgements.
const maxMessage = 64 << 10

// errEnds ends a connection without a complaint.
var errEnds = errors.New("the connection ends")

// Connect makes the request a WebSocket and serves it until either side ends
// it. The caller has authenticated the request.
func (h *Hub) Connect(w http.ResponseWriter, r *http.Request, instance int64, box Mailbox) {
	// Browsers have no business here, so there is no origin to check.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(errEnds)
	wake, leave := h.join(instance)
	defer leave()
	go func() { cancel(h.read(ctx, conn, box)) }()
	go func() { cancel(h.keepAlive(ctx, conn, box)) }()
	err = h.write(ctx, conn, box, wake)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	h.log.Debug("an agent's connection ends", "instance", instance, "reason", err)
}

// read takes the acknowledgements.
func (h *Hub) read(ctx context.Context, conn *websocket.Conn, box Mailbox) error {
	for {
		var ack wire.Ack
		if err := wsjson.Read(ctx, conn, &ack); err != nil {
			return err
		}
		if ack.Ack == "" {
			continue
		}
		if err := box.Ack(ctx, ack.Ack); err != nil {
			return err
		}
	}
}

// keepAlive ends the connection when the platform stops, when the session has
// ended, or when the agent does not answer. It says why before anything cancels
// the reading, which would break the connection off.
func (h *Hub) keepAlive(ctx context.Context, conn *websocket.Conn, box Mailbox) error {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closed:
			_ = conn.Close(websocket.StatusGoingAway, "the platform restarts")
			return errEnds
		case <-ticker.C:
		}
		if err := box.Valid(ctx); err != nil {
			_ = conn.Close(websocket.StatusPolicyViolation, "connect again with a fresh token")
			return err
		}
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		err := conn.Ping(ping)
		cancel()
		if err != nil {
			return err
		}
	}
}

// write sends each event once, and again if no answer comes.
func (h *Hub) write(ctx context.Context, conn *websocket.Conn, box Mailbox, wake <-chan struct{}) error {
	sent := map[string]time.Time{}
	repeat := time.NewTicker(repeatAfter)
	defer repeat.Stop()
	for {
		events, err := box.Events(ctx)
		if err != nil {
			return err
		}
		waiting := map[string]time.Time{}
		for _, e := range events {
			at, known := sent[e.UUID]
			if !known || time.Since(at) >= repeatAfter {
				if err := wsjson.Write(ctx, conn, e); err != nil {
					return err
				}
				at = time.Now()
				h.count(1)
			}
			waiting[e.UUID] = at
		}
		sent = waiting
		select {
		case <-wake:
		case <-repeat.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
