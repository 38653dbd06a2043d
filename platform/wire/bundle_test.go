// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBundleRoundTrip(t *testing.T) {
	want := ExecutableBundle{
		Executables: []RightScript{{
			Nickname: "hello", Source: "#!/bin/bash\necho $WHO\n",
			Parameters:  map[string]string{"WHO": "you"},
			Attachments: []Attachment{{URL: "/x", FileName: "a.deb", Token: "t", Digest: "d"}},
			Packages:    "curl", ID: 17, Ready: true, DisplayVersion: "[HEAD]",
			InputFlags: map[string][]string{"WHO": {FlagUnready}}, Secrets: []string{"WHO"},
		}},
		AuditID: 9001, ReposeServers: []string{"127.0.0.1"},
		Policy: RunlistPolicy{PolicyName: "default", ThreadName: "default", AuditPeriod: 120},
	}
	raw, err := json.Marshal(want)
	require.NoError(t, err)
	var got ExecutableBundle
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Equal(t, want, got)
}

// The form that the original platform sends: ten positions, nulls, no secrets.
func TestBundleReadsOriginalForm(t *testing.T) {
	raw := `{"json_class":"RightScale::ExecutableBundle","data":[[{"json_class":"RightScale::RightScriptInstantiation","data":["hello","#!/bin/sh\n",{"WHO":"you"},[],"",17,true,null,null,"[HEAD]"]}],[],9001,true,[],["127.0.0.1"],null,{"json_class":"RightScale::RunlistPolicy","data":["default","default",null]},null]}`
	var b ExecutableBundle
	require.NoError(t, json.Unmarshal([]byte(raw), &b))
	require.Equal(t, int64(9001), b.AuditID)
	require.Equal(t, "you", b.Executables[0].Parameters["WHO"])
	require.Equal(t, "default", b.Policy.ThreadName)

	err := json.Unmarshal([]byte(`{"json_class":"RightScale::RecipeInstantiation","data":[]}`), &RightScript{})
	require.ErrorContains(t, err, "RecipeInstantiation")
}
