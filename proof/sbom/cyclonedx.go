// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sbom

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
	"github.com/package-url/packageurl-go"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

// MediaType is that of a bill of materials as WriteJSON writes it.
const MediaType = "application/vnd.cyclonedx+json"

// About is the image that a bill of materials is of.
type About struct {
	// Name is that of the image or its disk.
	Name string
	// Time is when it was built; the zero time leaves it out, so that equal
	// images have equal bills.
	Time time.Time
}

// WriteJSON writes the inventory as CycloneDX 1.6. It depends on the inventory
// and about alone: equal images have equal bills.
func (i *Inventory) WriteJSON(w io.Writer, about About) error {
	return i.write(w, about, cdx.BOMFileFormatJSON)
}

// WriteXML is WriteJSON in CycloneDX's other form.
func (i *Inventory) WriteXML(w io.Writer, about About) error {
	return i.write(w, about, cdx.BOMFileFormatXML)
}

func (i *Inventory) write(w io.Writer, about About, format cdx.BOMFileFormat) error {
	b := i.bom(about)
	// The serial number is one of this content, and not of the moment.
	var content bytes.Buffer
	if err := cdx.NewBOMEncoder(&content, cdx.BOMFileFormatJSON).EncodeVersion(b, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	sum := sha256.Sum256(content.Bytes())
	b.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, sum[:]).URN()
	if err := cdx.NewBOMEncoder(w, format).SetPretty(true).EncodeVersion(b, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	return nil
}

func (i *Inventory) bom(about About) *cdx.BOM {
	b := cdx.NewBOM()
	b.Metadata = &cdx.Metadata{
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "rightimage", Version: version.String()}}},
		Component: &cdx.Component{BOMRef: "image", Type: cdx.ComponentTypePlatform, Name: about.Name},
	}
	if !about.Time.IsZero() {
		b.Metadata.Timestamp = about.Time.UTC().Format(time.RFC3339)
	}
	var components []cdx.Component
	var edges []cdx.Dependency
	top := []string{}
	if s := i.System; s.ID != "" {
		components = append(components, cdx.Component{BOMRef: "os", Type: cdx.ComponentTypeOS, Name: s.ID, Version: s.Version, Description: s.Name})
		top = append(top, "os")
	}
	known := map[string]bool{} // components, by their bom-refs
	uses := map[string][]string{}
	program := ""
	for _, p := range i.Packages {
		c := i.component(p)
		if !known[c.BOMRef] {
			known[c.BOMRef] = true
			components = append(components, c)
		}
		if p.Kind != Golang {
			top = append(top, c.BOMRef)
			continue
		}
		if p.Main { // it comes first of its program
			program = c.BOMRef
			top = append(top, program)
			uses[program] = []string{}
		} else if program != "" {
			uses[program] = append(uses[program], c.BOMRef)
		}
	}
	edges = append(edges, cdx.Dependency{Ref: "image", Dependencies: &top})
	for _, c := range components {
		if list, ok := uses[c.BOMRef]; ok {
			edges = append(edges, cdx.Dependency{Ref: c.BOMRef, Dependencies: &list})
		}
	}
	b.Components, b.Dependencies = &components, &edges
	if len(i.Notes) > 0 {
		var notes []cdx.Property
		for _, n := range i.Notes {
			notes = append(notes, cdx.Property{Name: "rightimage:note", Value: n})
		}
		b.Properties = &notes
	}
	return b
}

// component is a package in CycloneDX's words. Its reference is its package URL;
// programs add their path, since two of them can be of one module.
func (i *Inventory) component(p Package) cdx.Component {
	purl := i.purl(p)
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: purl}
	if p.Main {
		c.Type, c.BOMRef = cdx.ComponentTypeApplication, purl+"#"+p.Path
		c.Properties = &[]cdx.Property{{Name: "rightimage:path", Value: p.Path}}
	}
	if p.Supplier != "" {
		c.Supplier = &cdx.OrganizationalEntity{Name: p.Supplier}
	}
	if p.Licence != "" {
		// As the package words it: not everybody uses the names of SPDX.
		c.Licenses = &cdx.Licenses{{License: &cdx.License{Name: p.Licence}}}
	}
	return c
}

// purl is the package URL, by which scanners find advisories.
func (i *Inventory) purl(p Package) string {
	namespace, name := i.System.ID, p.Name
	q := map[string]string{}
	switch p.Kind {
	case Golang:
		namespace = ""
		if at := strings.LastIndexByte(name, '/'); at >= 0 {
			namespace, name = name[:at], name[at+1:]
		}
	default:
		if p.Arch != "" {
			q["arch"] = p.Arch
		}
		if i.System.ID != "" {
			q["distro"] = strings.TrimSuffix(i.System.ID+"-"+i.System.Version, "-")
		}
		if p.Source != "" {
			q["upstream"] = p.Source
			if p.SourceVersion != "" {
				q["upstream"] += "@" + p.SourceVersion
			}
		}
	}
	v := p.Version
	if epoch, rest, ok := strings.Cut(v, ":"); ok && p.Kind == RPM {
		q["epoch"], v = epoch, rest
	}
	qualifiers := packageurl.QualifiersFromMap(q)
	slices.SortFunc(qualifiers, func(a, b packageurl.Qualifier) int { return strings.Compare(a.Key, b.Key) })
	return packageurl.NewPackageURL(p.Kind, namespace, name, v, qualifiers, "").ToString()
}
