// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// templateView is a ServerTemplate in JSON output.
type templateView struct {
	ID               int64                        `json:"id"`
	Name             string                       `json:"name"`
	Description      string                       `json:"description"`
	Revision         int                          `json:"revision"`
	Inputs           map[string]rightscript.Value `json:"inputs"`
	Scripts          []scriptView                 `json:"scripts"`
	MultiCloudImages json.RawMessage              `json:"multi_cloud_images"`
	Warnings         []servertemplate.Problem     `json:"warnings,omitempty"` // of an upload
}

type scriptView struct {
	ID          int64               `json:"id"`
	Sequence    string              `json:"sequence"`
	Position    int                 `json:"position"`
	Name        string              `json:"name"`
	Inputs      []rightscript.Input `json:"inputs"`
	Attachments []attachmentView    `json:"attachments"`
}

type attachmentView struct {
	Filename string `json:"filename"`
	Digest   string `json:"digest"`
	Size     int64  `json:"size"`
}

const uploadHelp = `Reads a ServerTemplate in the YAML form of the right_st tool, with its scripts
(paths relative to the file) and their attachments (in attachments/ beside each
script), and stores it. A ServerTemplate or RightScript of the same name is
replaced; servers take the new one at their next boot.

MultiCloudImages that are written out are made or changed too, with their tags and
settings; the first one is the default of the ServerTemplate. Settings of clouds that
the file does not name stay. A file that names no MultiCloudImage changes none.

All problems of all files are told at once, each with its file and line.`

func (a *app) serverTemplate() *cobra.Command {
	upload := a.jsonFlag(&cobra.Command{
		Use: "upload FILE.yml", Short: "Store a ServerTemplate with its scripts and attachments", Long: uploadHelp,
		Args: cobra.ExactArgs(1), Example: "  rightscaled server-template upload example/servertemplates/webapp/webapp.yml",
		RunE: func(cmd *cobra.Command, args []string) error { return a.upload(cmd, args[0]) },
	})
	list := a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the ServerTemplates", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listTemplates(cmd) },
	})
	show := a.jsonFlag(&cobra.Command{
		Use: "show NAME", Short: "Show a ServerTemplate with its scripts and inputs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.showTemplate(cmd, args[0]) },
	})
	return group("server-template", "ServerTemplates: what servers run", "A ServerTemplate says which RightScripts a server runs at boot, on request and\nbefore it goes away, and with which inputs.", upload, list, show)
}

func (a *app) upload(cmd *cobra.Command, path string) error {
	tmpl, err := servertemplate.Load(path)
	if err != nil {
		return err
	}
	return a.with(cmd.Context(), func(s *fleet.Service) error {
		if _, err := s.UploadTemplate(cmd.Context(), byOperator(), tmpl); err != nil {
			return err
		}
		view, err := viewTemplateByName(cmd.Context(), s, tmpl.Name)
		if err != nil {
			return err
		}
		view.Warnings = tmpl.Warnings
		if a.json {
			return printJSON(cmd.OutOrStdout(), view)
		}
		for _, w := range tmpl.Warnings {
			cmd.PrintErrln("warning:", w)
		}
		files := 0
		for _, script := range tmpl.Scripts {
			files += len(script.Attachments)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "uploaded ServerTemplate %q (id %d): %d scripts, %d attachments\n", view.Name, view.ID, len(tmpl.Scripts), files)
		return err
	})
}

func viewTemplateByName(ctx context.Context, s *fleet.Service, name string) (templateView, error) {
	t, err := s.DB.ServerTemplateByName(ctx, fleet.DefaultAccount, name)
	if err != nil {
		return templateView{}, err
	}
	return viewTemplate(ctx, s, t)
}

func viewTemplate(ctx context.Context, s *fleet.Service, t store.ServerTemplate) (templateView, error) {
	v := templateView{ID: t.ID, Name: t.Name, Description: t.Description, Revision: t.Revision, Inputs: t.Inputs,
		MultiCloudImages: t.MultiCloudImages, Scripts: []scriptView{}}
	scripts, err := s.DB.BoundScripts(ctx, t.ID, "")
	for _, b := range scripts {
		sv := scriptView{ID: b.ID, Sequence: b.Sequence, Position: b.Position, Name: b.Name, Inputs: b.Inputs, Attachments: []attachmentView{}}
		if sv.Inputs == nil {
			sv.Inputs = []rightscript.Input{}
		}
		for _, at := range b.Attachments {
			sv.Attachments = append(sv.Attachments, attachmentView{Filename: at.Filename, Digest: at.Digest, Size: at.Size})
		}
		v.Scripts = append(v.Scripts, sv)
	}
	return v, err
}

func (a *app) listTemplates(cmd *cobra.Command) error {
	return a.with(cmd.Context(), func(s *fleet.Service) error {
		templates, err := s.DB.ServerTemplates(cmd.Context(), fleet.DefaultAccount)
		if err != nil {
			return err
		}
		views, rows := []templateView{}, []string{}
		for _, t := range templates {
			v, err := viewTemplate(cmd.Context(), s, t)
			if err != nil {
				return err
			}
			views = append(views, v)
			rows = append(rows, fmt.Sprintf("%d\t%s\t%d\t%s", v.ID, v.Name, len(v.Scripts), v.Description))
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), views)
		}
		return table(cmd.OutOrStdout(), "ID\tNAME\tSCRIPTS\tDESCRIPTION", rows...)
	})
}

func (a *app) showTemplate(cmd *cobra.Command, name string) error {
	return a.with(cmd.Context(), func(s *fleet.Service) error {
		v, err := viewTemplateByName(cmd.Context(), s, name)
		if err != nil || a.json {
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), v)
		}
		out := cmd.OutOrStdout()
		if _, err := fmt.Fprintf(out, "%s (id %d)\n%s\n\n", v.Name, v.ID, v.Description); err != nil {
			return err
		}
		rows := []string{}
		inputs := []string{}
		seen := map[string]bool{}
		for _, script := range v.Scripts {
			rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%d", script.Sequence, script.Position, script.Name, len(script.Attachments)))
			for _, in := range script.Inputs {
				if seen[in.Name] {
					continue
				}
				seen[in.Name] = true
				value, from := in.Default, "script"
				if own, ok := v.Inputs[in.Name]; ok {
					value, from = own, "ServerTemplate"
				}
				if value.IsZero() {
					from = "-"
				}
				inputs = append(inputs, fmt.Sprintf("%s\t%t\t%s\t%s\t%s", in.Name, in.Required, value, from, in.Description))
			}
		}
		if err := table(out, "SEQUENCE\tPOSITION\tSCRIPT\tATTACHMENTS", rows...); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
		return table(out, "INPUT\tREQUIRED\tVALUE\tFROM\tDESCRIPTION", inputs...)
	})
}
