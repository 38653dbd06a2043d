// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

func mirrorServe() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "serve DIR", Short: "Serve a mirror over HTTP until interrupted", Args: cobra.ExactArgs(1),
		Long: "Serve a mirror over HTTP. Trust does not come from the connection but from the\nsignatures, so that plain HTTP is enough; any other web server does as well.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := repo.Open(args[0], repo.Keys{}, repo.DefaultExpiry()); err != nil {
				return err
			}
			l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Serving %s at http://%s\n", args[0], l.Addr())
			return serveMirror(cmd.Context(), l, args[0])
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "address and port")
	return cmd
}

// serveMirror serves files, no listings and nothing that begins with a dot.
func serveMirror(ctx context.Context, l net.Listener, dir string) error {
	files := http.FileServer(http.Dir(dir))
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/") || strings.Contains(r.URL.Path, "/.") {
				http.NotFound(w, r)
				return
			}
			log.Info("request", "from", r.RemoteAddr, "path", r.URL.Path, "range", r.Header.Get("Range"))
			files.ServeHTTP(w, r)
		}),
	}
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func mirrorSync() *cobra.Command {
	var rootFile, only, ca, proxy, noProxy string
	cmd := &cobra.Command{
		Use: "sync URL DIR", Short: "Copy a mirror, checked", Args: cobra.ExactArgs(2),
		Long: "Copy the mirror at URL (https://, http:// or s3://) into DIR. Everything is checked\nfrom the root of trust on; what is there already is not fetched again. A bucket that\nrefuses anonymous requests gets them signed with AWS's usual credentials.",
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := readRoot(rootFile)
			if err != nil {
				return err
			}
			o := fetch.Options{Proxy: proxy, NoProxy: noProxy, Role: usualRole{}, UserAgent: "rightimage/" + version.String()}
			if ca != "" {
				if o.CA, err = os.ReadFile(ca); err != nil {
					return fmt.Errorf("--ca-file: %w", err)
				}
			}
			client, err := fetch.New(o)
			if err != nil {
				return err
			}
			done, err := repo.Sync(cmd.Context(), client, root, args[0], args[1], only)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d files, %d of them fetched; root version %d\n", done.Files, done.Fetched, done.Root)
			return err
		},
	}
	cmd.Flags().StringVar(&rootFile, "root", "", "root of trust of the mirror, a root.json (required)")
	cmd.Flags().StringVar(&only, "version", "", "copy the packages of this version only")
	cmd.Flags().StringVar(&ca, "ca-file", "", "certificates (PEM) to trust beside the system's")
	cmd.Flags().StringVar(&proxy, "proxy", "", "proxy, as host:port or URL")
	cmd.Flags().StringVar(&noProxy, "no-proxy", "", "hosts that are reached without the proxy, separated by commas")
	_ = cmd.MarkFlagRequired("root")
	return cmd
}

// usualRole takes credentials and region from where AWS's tools do: environment,
// profile, or the role of the machine.
type usualRole struct{}

// Credentials implements fetch.Role.
func (usualRole) Credentials(ctx context.Context) (aws.Credentials, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return c.Credentials.Retrieve(ctx)
}

// Region implements fetch.Role.
func (usualRole) Region(ctx context.Context) (string, error) {
	c, err := config.LoadDefaultConfig(ctx)
	return c.Region, err
}

// buildTime is SOURCE_DATE_EPOCH, or a fixed time: the same agent makes the same
// package.
func buildTime() (time.Time, error) { return build.Time(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) }

func mirrorPackage() *cobra.Command {
	var in build.Input
	var out string
	cmd := &cobra.Command{
		Use: "package", Short: "Build RightLink's packages (deb, rpm, tar.gz) of an agent's binary", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if in.Time, err = buildTime(); err != nil {
				return err
			}
			for _, p := range []struct {
				kind string
				make func(*bytes.Buffer) error
			}{
				{build.KindDeb, func(w *bytes.Buffer) error { return build.Deb(w, in) }},
				{build.KindRPM, func(w *bytes.Buffer) error { return build.RPM(w, in) }},
				{build.KindTarball, func(w *bytes.Buffer) error { return build.Tarball(w, in) }},
			} {
				var b bytes.Buffer
				if err := p.make(&b); err != nil {
					return err
				}
				if err := putFile(cmd, out, build.FileName(in.Version, in.Arch, p.kind), b.Bytes()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Binary, "binary", "", "the agent: a rightlink binary for --arch (required)")
	cmd.Flags().StringVar(&in.Version, "version", version.Package(), "version of the packages")
	cmd.Flags().StringVar(&in.Arch, "arch", "amd64", "amd64 or arm64")
	cmd.Flags().StringVar(&out, "out", ".", "folder to write to")
	_ = cmd.MarkFlagRequired("binary")
	return cmd
}

func mirrorPatch() *cobra.Command {
	var base, arch, out string
	var number int
	var files []string
	cmd := &cobra.Command{
		Use: "patch", Short: "Build a patch: files that replace those of an installed version", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := pkgname.PatchFile(base, number, arch)
			if _, err := pkgname.Parse(name); err != nil {
				return usageError{err}
			}
			at, err := buildTime()
			if err != nil {
				return err
			}
			content := map[string][]byte{}
			for _, f := range files {
				to, from, ok := strings.Cut(f, "=")
				if !ok {
					return usageError{fmt.Errorf("--file %q: give it as rightscale/bin/rightlink=PATH", f)}
				}
				if content[to], err = os.ReadFile(from); err != nil {
					return fmt.Errorf("--file: %w", err)
				}
			}
			var b bytes.Buffer
			if err := build.Patch(&b, at, content); err != nil {
				return err
			}
			return putFile(cmd, out, name, b.Bytes())
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "version that the patch changes (required)")
	cmd.Flags().IntVar(&number, "number", 1, "number of the patch; it holds all that lower ones of the same version do")
	cmd.Flags().StringVar(&arch, "arch", "amd64", "amd64 or arm64")
	cmd.Flags().StringArrayVar(&files, "file", nil, "file below /opt and where its content is: rightscale/bin/rightlink=PATH; repeat for more")
	cmd.Flags().StringVar(&out, "out", ".", "folder to write to")
	_ = cmd.MarkFlagRequired("base")
	return cmd
}

func putFile(cmd *cobra.Command, dir, name string, data []byte) error {
	to := filepath.Join(dir, name)
	if err := atomicfile.WriteMkdir(to, data, 0o644, 0o755); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), to)
	return err
}
