// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// repository is where links of .web-docs lead: the registry shows its pages
// without their neighbours.
const repository = "https://github.com/rightimage/packer-plugin-rightimage"

// component is a page of Packer's registry of integrations, made of pages of ours.
type component struct {
	kind, slug string // in the registry
	name       string // that people read
	kindName   string // in templates, such as rightimage-disk
	page       string
	also       string // a page that is appended
}

func components() []component {
	return []component{
		{"builder", "disk", "RightImage of a disk", "rightimage-disk", "builder-disk.md", "publishing.md"},
		{"builder", "ebs", "RightImage of a machine", "rightimage-ebs", "builder-ebs.md", "publishing.md"},
		{"provisioner", "rightimage", "RightImage", "rightimage", "provisioner.md", ""},
		{"post-processor", "publish", "RightImage publish", "rightimage-publish", "postprocessor.md", "publishing.md"},
		{"data-source", "ami", "RightImage AMI", "rightimage-ami", "datasource.md", ""},
	}
}

// web writes .web-docs, which the registry of integrations reads.
func web(root string) error {
	out := filepath.Join(root, ".web-docs")
	if err := page(root, filepath.Join(out, "README.md"), component{page: "plugin.md"}); err != nil {
		return err
	}
	for _, c := range components() {
		if err := page(root, filepath.Join(out, "components", c.kind, c.slug, "README.md"), c); err != nil {
			return err
		}
	}
	return put(filepath.Join(out, "metadata.hcl"), metadata())
}

func page(root, file string, c component) error {
	text, err := os.ReadFile(filepath.Join(root, "docs", c.page))
	if err != nil {
		return err
	}
	out := forWeb(string(text))
	if c.kindName != "" {
		title, rest, _ := strings.Cut(out, "\n")
		out = title + "\n\nType: `" + c.kindName + "`\n" + rest
	}
	if c.also != "" {
		more, err := os.ReadFile(filepath.Join(root, "docs", c.also))
		if err != nil {
			return err
		}
		out += "\n" + demote(forWeb(string(more)))
	}
	return put(file, out)
}

// put writes a file unless it holds this text already.
func put(file, text string) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, []byte(text)) {
		return nil
	}
	return atomicfile.WriteMkdir(file, []byte(text), 0o644, 0o755)
}

// forWeb leaves the marks of this program out, and lets links lead to the
// repository.
func forWeb(text string) string {
	text = regexp.MustCompile(`(?m)^<!-- .* -->\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\]\(([a-z0-9-]+\.md)`).ReplaceAllString(text, "]("+repository+"/blob/main/docs/$1")
	return strings.ReplaceAll(text, "](../", "]("+repository+"/blob/main/")
}

// demote puts all headings one level lower, but for what looks like one in code.
func demote(text string) string {
	var b strings.Builder
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if !code && strings.HasPrefix(line, "#") {
			b.WriteString("#")
		}
		b.WriteString(line)
	}
	return b.String()
}

func metadata() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# What the registry of integrations shows; written by "make generate".
integration {
  name        = "RightImage"
  description = "Publish Linux images that configure themselves, as AMIs in many regions, without a build instance."
  identifier  = "packer/rightimage/rightimage"
  flags       = ["hcp-ready"]
  docs {
    process_docs    = true
    readme_location = "./README.md"
    external_url    = "%s"
  }
  license {
    type = "MPL-2.0"
    url  = "%s/blob/main/LICENSE"
  }
`, repository, repository)
	for _, c := range components() {
		fmt.Fprintf(&b, "  component {\n    type = %q\n    name = %q\n    slug = %q\n  }\n", c.kind, c.name, c.slug)
	}
	return b.String() + "}\n"
}
