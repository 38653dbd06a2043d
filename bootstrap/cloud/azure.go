// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	azureDocument = "/metadata/instance?api-version=2021-02-01"
	azureUserData = "/metadata/instance/compute/userData?api-version=2021-02-01&format=text"
	// azureChassis is what the firmware of each machine in Azure says.
	azureChassis = "7783-7084-3265-9085-8269-3286-77"
)

func newAzure(o Options) Cloud {
	d := newDocument(o, "azure", "AZURE_", azureDocument, "Metadata", "true")
	d.secret = func(path []string) bool {
		return slices.Contains([]string{"userData", "customData"}, path[len(path)-1])
	}
	d.instanceID = func(t *Tree) string { return strings.ToLower(t.text("compute", "vmId")) }
	d.loginKey = func(t *Tree) string {
		var keys []string
		if list := t.at("compute", "publicKeys"); list != nil {
			for _, k := range list.Children {
				keys = append(keys, strings.ReplaceAll(k.text("keyData"), "\r\n", ""))
			}
		}
		return strings.Join(keys, "\n")
	}
	d.fetchUserData = fetchAzure
	return d
}

func recogniseAzure(h Hints) bool { return h.ChassisAssetTag == azureChassis }

// fetchAzure looks for what Azure's agent has put on the disk (custom data, and
// the original's certificate), then for the newer user data of the service.
func fetchAzure(ctx context.Context, d *document) ([]byte, error) {
	for _, read := range []func(string) []byte{customData, certificateData} {
		if data := read(d.o.Root); len(data) > 0 {
			return data, nil
		}
	}
	text, err := d.once(ctx, azureUserData)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" {
		return nil, ErrAbsent
	}
	return decodeBase64(text), nil
}

// customData is in the description of the machine that Azure's agent keeps.
func customData(root string) []byte {
	text, err := os.ReadFile(filepath.Join(root, "var/lib/waagent/ovf-env.xml"))
	if err != nil {
		return nil
	}
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := dec.Token()
		if err != nil {
			return nil
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "CustomData" {
			var value string
			if dec.DecodeElement(&value, &start) != nil || strings.TrimSpace(value) == "" {
				return nil
			}
			return decodeBase64(value)
		}
	}
}

// certificateData is the original's way: the subject of a certificate.
func certificateData(root string) []byte {
	text, err := os.ReadFile(filepath.Join(root, "var/lib/waagent/Certificates.pem"))
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || cert.Issuer.CommonName != "RightScale User Data" {
			continue
		}
		name := strings.ReplaceAll(strings.ReplaceAll(cert.Subject.CommonName, `\x0A`, ""), "\n", "")
		if raw, err := base64.StdEncoding.DecodeString(name); err == nil {
			return raw
		}
	}
	return nil
}

// alone is for clouds where the data that rs_connect left is used and the
// cloud's own is not asked for.
func alone(name string) bool { return name == "azure" || name == "rackspace" }
