// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

const namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

// reply is the body of an answer: a pointer to a struct that embeds meta.
type reply interface{ setRequestID(string) }

// meta is what every answer begins with.
type meta struct {
	RequestID string `xml:"requestId"`
}

func (m *meta) setRequestID(id string) { m.RequestID = id }

// done is the answer of actions that only say that they did it.
type done struct {
	meta
	Return bool `xml:"return"`
}

// set is a list in EC2's form: an element that is there even when empty, with
// one "item" per entry.
type set[T any] struct {
	Items []T `xml:"item"`
}

type tagItem struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func tagSet(tags map[string]string) set[tagItem] {
	var out set[tagItem]
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Items = append(out.Items, tagItem{k, tags[k]})
	}
	return out
}

type reason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

func writeReply(w http.ResponseWriter, c *call.Call, body reply) error {
	body.setRequestID(c.RequestID)
	var buf bytes.Buffer
	buf.WriteString(xml.Header)
	start := xml.StartElement{
		Name: xml.Name{Local: c.Action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	}
	enc := xml.NewEncoder(&buf)
	enc.Indent("", "    ")
	if err := enc.EncodeElement(body, start); err != nil {
		return fmt.Errorf("encode answer of %s: %w", c.Action, err)
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("X-Amzn-Requestid", c.RequestID)
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	if buf.Len() > onePiece {
		time.Sleep(notTooFast)
	}
	_, _ = w.Write(buf.Bytes()) // the client may be gone
	return nil
}

// The AWS SDK for Go (smithy-go 1.28) closes its own request body when the first
// byte of the answer arrives. If its sending goroutine has not looked for the
// end of the body by then, it takes that for a failure and closes the
// connection, and what is not yet in the 4 KiB read buffer is lost. AWS is never
// that quick, and neither are we for answers that do not come in one piece.
const (
	onePiece   = 3 << 10
	notTooFast = 25 * time.Millisecond
)

type errorBody struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

// WriteError writes an error in the form of the query API.
func WriteError(w http.ResponseWriter, requestID string, e *call.Error) {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(e.Status)
	out, err := xml.Marshal(errorBody{Code: e.Code, Message: e.Message, RequestID: requestID})
	if err != nil {
		return // strings always marshal
	}
	_, _ = w.Write(append([]byte(xml.Header), out...))
}
