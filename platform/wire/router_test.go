// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/json"
	"reflect"
	"testing"
)

const policyText = `{"json_class":"RightScale::LoginPolicy","data":[0,1400000000,false,[` +
	`{"json_class":"RightScale::LoginUser","data":[7,"ann","ssh-ed25519 AAAA","ann",true,1500000000,["ssh-ed25519 AAAA"],null,[]]},` +
	`{"json_class":"RightScale::LoginUser","data":[8,"bob",null,"bob",false,null,[],null,[]]}]]}`

func TestLoginPolicy(t *testing.T) {
	want := LoginPolicy{CreatedAt: 1400000000, Users: []LoginUser{
		{UUID: 7, Username: "ann", CommonName: "ann", Superuser: true, ExpiresAt: 1500000000, PublicKeys: []string{"ssh-ed25519 AAAA"}},
		{UUID: 8, Username: "bob", CommonName: "bob", PublicKeys: []string{}},
	}}
	var got LoginPolicy
	if err := json.Unmarshal([]byte(policyText), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	text, err := json.Marshal(want)
	if err != nil || string(text) != policyText {
		t.Fatalf("got %s, %v", text, err)
	}
}

func TestOldLoginUser(t *testing.T) {
	var u LoginUser
	err := json.Unmarshal([]byte(`{"json_class":"RightScale::LoginUser","data":["7","ann","ssh-rsa AAAA","Ann",false,null]}`), &u)
	if err == nil {
		t.Fatal("an id that is text is not one of ours")
	}
	err = json.Unmarshal([]byte(`{"json_class":"RightScale::LoginUser","data":[7,"ann","ssh-rsa AAAA","Ann",false,null]}`), &u)
	if err != nil || len(u.PublicKeys) != 1 {
		t.Fatalf("got %+v, %v", u, err)
	}
}

// What is read once is written and read again as the same.
func FuzzLoginPolicy(f *testing.F) {
	f.Add(policyText)
	f.Add(`{"json_class":"RightScale::LoginPolicy","data":[]}`)
	f.Add(`{"json_class":"RightScale::LoginPolicy","data":[1,2,3,4]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var p, again LoginPolicy
		if json.Unmarshal([]byte(text), &p) != nil {
			return
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
