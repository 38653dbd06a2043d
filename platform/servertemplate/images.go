// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package servertemplate

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/strictyaml"
)

// Image is an item of MultiCloudImages: one that is written out in the file, or
// the name or href of one that is in the account already.
type Image struct {
	Line        int
	Href        string
	Name        string
	Revision    int // of one that is in the account; 0 is HEAD
	Description string
	Tags        []string
	Settings    []ImageSetting
	// Full tells that the image is written out; the file then says all of it.
	Full bool
}

// ImageSetting is what an image means in one cloud. Image is the cloud's own id
// or the name in its catalogue.
type ImageSetting struct {
	Line         int
	Cloud        string
	InstanceType string
	Image        string
	UserData     string
}

// imageKeys are those that only an image that is written out has.
var imageKeys = []string{"Description", "Tags", "Settings"}

func (l *loader) readImages(n *yaml.Node) {
	l.tmpl.MultiCloudImages = l.dataList(n, "MultiCloudImages")
	names := map[string]bool{}
	l.yaml.List(n, "MultiCloudImages", func(item *yaml.Node) {
		if item.Kind == yaml.ScalarNode {
			l.yaml.Add(item, "MultiCloudImages: %q: want a mapping with Name or Href", item.Value)
		}
		if item.Kind != yaml.MappingNode {
			return // dataList tells
		}
		i := l.readImage(item)
		if i.Name != "" && names[i.Name] {
			l.yaml.Add(item, "MultiCloudImages: %q is given twice", i.Name)
		}
		names[i.Name] = true
		l.tmpl.Images = append(l.tmpl.Images, i)
	})
}

func (l *loader) readImage(item *yaml.Node) Image {
	const what = "MultiCloudImages"
	r, i := &l.yaml, Image{Line: item.Line}
	publisher := ""
	for k := 0; k+1 < len(item.Content); k += 2 {
		for _, key := range imageKeys {
			i.Full = i.Full || item.Content[k].Value == key
		}
	}
	r.Object(item, what, strictyaml.Fields{
		"Href":        func(n *yaml.Node) { i.Href = r.String(n, what+": Href") },
		"Name":        func(n *yaml.Node) { i.Name = strings.TrimSpace(r.String(n, what+": Name")) },
		"Revision":    func(n *yaml.Node) { i.Revision = readRevision(r, n, what) },
		"Publisher":   func(n *yaml.Node) { publisher = r.String(n, what+": Publisher") },
		"Description": func(n *yaml.Node) { i.Description = r.String(n, what+": Description") },
		"Tags": func(n *yaml.Node) {
			r.List(n, what+": Tags", func(tag *yaml.Node) { i.Tags = append(i.Tags, r.String(tag, what+": Tags")) })
		},
		"Settings": func(n *yaml.Node) {
			r.List(n, what+": Settings", func(set *yaml.Node) { i.Settings = append(i.Settings, l.readSetting(set)) })
		},
	})
	switch {
	case publisher != "":
		r.Add(item, "%s: %q of publisher %q: there is no marketplace to import from; write the image out with Tags and Settings", what, i.Name, publisher)
	case i.Href != "" && (i.Full || i.Name != ""):
		r.Add(item, "%s: Href stands alone", what)
	case i.Href == "" && i.Name == "":
		r.Add(item, "%s: Name: is missing", what)
	case i.Full && i.Revision != 0:
		r.Add(item, "%s: %q: Revision names an image of the account; leave it out where the image is written out", what, i.Name)
	}
	return i
}

func (l *loader) readSetting(n *yaml.Node) ImageSetting {
	const what = "MultiCloudImages: Settings"
	r, s := &l.yaml, ImageSetting{Line: n.Line}
	r.Object(n, what, strictyaml.Fields{
		"Cloud":         func(v *yaml.Node) { s.Cloud = r.String(v, what+": Cloud") },
		"Instance Type": func(v *yaml.Node) { s.InstanceType = r.String(v, what+": Instance Type") },
		"Image":         func(v *yaml.Node) { s.Image = r.String(v, what+": Image") },
		"User Data":     func(v *yaml.Node) { s.UserData = r.String(v, what+": User Data") },
	})
	for _, need := range [][2]string{{"Cloud", s.Cloud}, {"Image", s.Image}} {
		if need[1] == "" {
			r.Add(n, "%s: %s: is missing", what, need[0])
		}
	}
	return s
}
