// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"encoding/json"
	"reflect"
	"slices"
)

// IAMActions are the IAM actions of the calls that sweeping makes: in EC2 and IAM
// they have the names of the calls, so that the ports are the list.
func IAMActions() []string {
	var actions []string
	for service, ports := range map[string][]reflect.Type{
		"ec2": {reflect.TypeFor[regionLister](), reflect.TypeFor[regionAPI]()},
		"iam": {reflect.TypeFor[iamAPI]()},
	} {
		for _, port := range ports {
			for call := range port.Methods() {
				actions = append(actions, service+":"+call.Name)
			}
		}
	}
	slices.Sort(actions)
	return actions
}

// IAMPolicy is the policy that "rightimage sweep --delete" needs, as a JSON
// document.
func IAMPolicy() string {
	type statement struct {
		Sid, Effect string
		Action      []string
		Resource    string
	}
	policy := struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{"Sweep", "Allow", IAMActions(), "*"}}}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return "" // a struct of strings always encodes
	}
	return string(text)
}
