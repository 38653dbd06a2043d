// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"encoding/xml"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

type identityReply struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Arn       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type stsErrorReply struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// serveSTS answers the one call that tools make before anything else.
func (f *front) serveSTS(w http.ResponseWriter, c *call.Call) {
	if c.Action != "GetCallerIdentity" {
		writeSTSError(w, c.RequestID, call.Errorf("InvalidAction", "The local cloud's STS has GetCallerIdentity only, not '%s'.", c.Action))
		return
	}
	writeXML(w, http.StatusOK, identityReply{
		Arn: "arn:aws:iam::" + f.account + ":root", UserID: f.account, Account: f.account, RequestID: c.RequestID,
	})
}

func writeSTSError(w http.ResponseWriter, requestID string, e *call.Error) {
	writeXML(w, e.Status, stsErrorReply{Type: "Sender", Code: e.Code, Message: e.Message, RequestID: requestID})
}

func writeXML(w http.ResponseWriter, status int, body any) {
	out, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write(out) // the client may be gone
}
