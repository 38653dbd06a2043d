// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// qmp speaks QEMU's machine protocol: one JSON object a line. Commands go one
// after another. Of the events only one is of use, since the end of the process
// tells the rest: a reset ends QEMU as well (see qemuArgs).
type qmp struct {
	conn    net.Conn
	mu      sync.Mutex // one command at a time
	replies chan qmpReply
	ended   chan struct{} // closed when there is nothing more to read
	reset   bool          // QEMU has ended for a reset; read after ended
}

type qmpReply struct {
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
	Event  string          `json:"event"`
	Data   struct {
		Reason string `json:"reason"`
	} `json:"data"`
	QMP json.RawMessage `json:"QMP"`
}

type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// errQMPClosed: QEMU has ended, or is about to.
var errQMPClosed = errors.New("qemu closed its control socket")

// newQMP waits for QEMU's greeting and leaves the negotiation mode.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, replies: make(chan qmpReply, 1), ended: make(chan struct{})}
	go q.read()
	greeting, err := q.next(ctx)
	if err != nil {
		return nil, err
	}
	if greeting.QMP == nil {
		return nil, errors.New("qemu control socket: no greeting")
	}
	_, err = q.run(ctx, "qmp_capabilities")
	return q, err
}

func (q *qmp) read() {
	defer close(q.ended)
	defer close(q.replies)
	lines := bufio.NewReader(q.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var reply qmpReply
		if json.Unmarshal(line, &reply) != nil || reply.Event != "" {
			q.reset = q.reset || reply.Event == "SHUTDOWN" && strings.HasSuffix(reply.Data.Reason, "-reset")
			continue
		}
		select {
		case q.replies <- reply:
		default: // an answer to a command that was given up
		}
	}
}

// run sends a command without arguments and returns its answer.
func (q *qmp) run(ctx context.Context, command string) (json.RawMessage, error) {
	return q.call(ctx, command, nil)
}

// call sends a command and returns its answer.
func (q *qmp) call(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	line, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return nil, fmt.Errorf("qemu %s: %w", command, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select { // what an earlier, cancelled command left
	case <-q.replies:
	default:
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = q.conn.SetWriteDeadline(deadline)
	} else {
		_ = q.conn.SetWriteDeadline(time.Time{})
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("qemu %s: %w", command, errors.Join(errQMPClosed, err))
	}
	reply, err := q.next(ctx)
	if err != nil {
		return nil, fmt.Errorf("qemu %s: %w", command, err)
	}
	if reply.Error != nil {
		return nil, fmt.Errorf("qemu %s: %s", command, reply.Error.Desc)
	}
	return reply.Return, nil
}

func (q *qmp) next(ctx context.Context) (qmpReply, error) {
	select {
	case reply, ok := <-q.replies:
		if !ok {
			return qmpReply{}, errQMPClosed
		}
		return reply, nil
	case <-ctx.Done():
		return qmpReply{}, ctx.Err()
	}
}

// status is QEMU's run state: "running", "paused", "internal-error", …
func (q *qmp) status(ctx context.Context) (string, error) {
	raw, err := q.run(ctx, "query-status")
	if err != nil {
		return "", err
	}
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return "", fmt.Errorf("qemu query-status: %w", err)
	}
	return answer.Status, nil
}

func (q *qmp) close() { _ = q.conn.Close() }
