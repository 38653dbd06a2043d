// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// maxUpload bounds the body of an attachment, maxParts what else is in it.
const (
	maxUpload = servertemplate.MaxAttachment + 1<<20
	maxParts  = 20
	// uploadTime bounds one upload, which may well take longer than any other
	// request.
	uploadTime = 30 * time.Minute
)

// isUpload tells whether a request brings an attachment.
func isUpload(r *http.Request) bool {
	return (r.Method == http.MethodPost || r.Method == http.MethodPut) && strings.HasPrefix(r.URL.Path, "/api/right_scripts/") &&
		strings.Contains(r.URL.Path, "/attachments") && strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
}

func (c *call) attachmentResource(f store.ScriptFile) resource {
	script := fleet.RightScriptHref(f.ScriptID)
	url := "https://" + c.host(c.r) + "/api" + wire.PathAttachments + f.Digest + "?token=" + c.fleet.DownloadToken(f.Digest).Reveal()
	return object(resource{"id": itoa64(f.ID), "filename": f.Filename, "digest": f.MD5, "size": itoa64(f.Size), "download_url": url,
		"created_at": wire.FormatTime(f.CreatedAt), "updated_at": wire.FormatTime(f.CreatedAt)},
		[]wire.Link{link("self", fmt.Sprintf("%s/attachments/%d", script, f.ID)), link("right_script", script)})
}

func (c *call) attachments() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	files, err := c.fleet.ScriptFiles(c.ctx(), c.who.AccountID, id)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(files))
	for i, f := range files {
		list[i] = c.attachmentResource(f)
	}
	return c.index("right_script_attachment", list)
}

func (c *call) attachment() (reply, error) {
	script, id := c.id("id"), c.id("attachment")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	files, err := c.fleet.ScriptFiles(c.ctx(), c.who.AccountID, script)
	for _, f := range files {
		if err == nil && f.ID == id {
			return shown("right_script_attachment", c.attachmentResource(f))
		}
	}
	if err == nil {
		err = fmt.Errorf("RightScriptAttachment %d: %w", id, store.ErrNotFound)
	}
	return reply{}, err
}

func (c *call) deleteAttachment() (reply, error) {
	script, id := c.id("id"), c.id("attachment")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DetachFile(c.ctx(), c.by(), script, id))
}

// putAttachment creates or replaces an attachment. Its content goes to a
// temporary file, not to memory.
func (s *Server) putAttachment(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, r: r, w: w, p: &params{first: new(error)}, who: callerOf(r)}
	script, replace := c.id("id"), int64(0)
	if chi.URLParam(r, "attachment") != "" {
		replace = c.id("attachment")
	}
	err := c.p.problem()
	var file fleet.NewFile
	var tmp *os.File
	if err == nil {
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(uploadTime))
		_ = control.SetWriteDeadline(time.Now().Add(uploadTime + writeTimeout))
		tmp, file, err = receive(r)
	}
	if tmp != nil {
		defer func() { _ = tmp.Close(); _ = os.Remove(tmp.Name()) }()
	}
	var id int64
	if err == nil {
		id, err = s.fleet.AttachFile(r.Context(), c.by(), script, replace, file)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if replace != 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.write(w, r, reply{status: http.StatusCreated, location: fmt.Sprintf("%s/attachments/%d", fleet.RightScriptHref(script), id)})
}

// receive reads right_script_attachment[filename] and [content] of a
// multipart body. The caller removes the file, also after an error.
func receive(r *http.Request) (tmp *os.File, file fleet.NewFile, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "multipart/form-data" {
		return nil, file, &parameterError{"an attachment is sent as multipart/form-data, with right_script_attachment[filename] and right_script_attachment[content]"}
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, file, &parameterError{"the multipart body cannot be read"}
	}
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n >= maxParts {
			err = &parameterError{"more than " + strconv.Itoa(maxParts) + " parts"}
		}
		if err == nil {
			tmp, err = receivePart(part, tmp, &file)
		}
		if err != nil {
			return tmp, file, uploadProblem(err)
		}
	}
	if tmp == nil {
		return nil, file, &parameterError{"parameter right_script_attachment[content] is missing"}
	}
	return tmp, file, nil
}

// uploadProblem is what a client should hear when its upload cannot be read.
func uploadProblem(err error) error {
	var tooLong *http.MaxBytesError
	var parameter *parameterError
	if errors.As(err, &tooLong) || errors.As(err, &parameter) {
		return err
	}
	var local *os.PathError
	if errors.As(err, &local) { // our disk, not their fault
		return err
	}
	return &parameterError{"the multipart body ends early or cannot be read"}
}

func receivePart(part *multipart.Part, tmp *os.File, file *fleet.NewFile) (*os.File, error) {
	switch part.FormName() {
	case "right_script_attachment[filename]", "right_script_attachment[name]":
		raw, err := io.ReadAll(io.LimitReader(part, 4096))
		if err == nil && len(raw) > 0 {
			file.Filename = path.Base(string(raw))
		}
		return tmp, err
	case "right_script_attachment[content]":
		if tmp != nil {
			return tmp, &parameterError{"right_script_attachment[content] comes twice"}
		}
		if file.Filename == "" { // clients send their full path
			file.Filename = path.Base(strings.ReplaceAll(part.FileName(), `\`, "/"))
		}
		tmp, err := os.CreateTemp("", "rightscaled-attachment-")
		if err != nil {
			return nil, err
		}
		sum, old := sha256.New(), md5.New()
		file.Size, err = io.Copy(io.MultiWriter(tmp, sum, old), part)
		file.Digest, file.Content = hex.EncodeToString(sum.Sum(nil)), tmp
		file.MD5 = hex.EncodeToString(old.Sum(nil))
		return tmp, err
	}
	return tmp, nil
}
