// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package secrets

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// Samples are put together here, so that no tool takes this file for a leak.
var (
	body   = strings.Repeat("MIIEpAIBAAKCAQEAuJ5hBw9zq3TnL0eYxkVdGfSc7iRoNpD8+/1b\n", 4)
	keyID  = "AKI" + "AQ3EGRTZ7PLMN2XYW"
	secret = "9dK2+mXq7Lw/RtZp4VbHs1YcNf8JgA3uEo6iTkQz"
)

func pemKey(label string) string {
	return "-----BEGIN " + label + "-----\n" + body + "-----END " + label + "-----\n"
}

func wide(s string, big bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if big {
			b.Write([]byte{0, c})
		} else {
			b.Write([]byte{c, 0})
		}
	}
	return b.String()
}

func scanText(t testing.TB, set *Set, text string) []Hit {
	var hits []Hit
	require.NoError(t, set.Scanner().Scan(strings.NewReader(text), func(h Hit) { hits = append(hits, h) }))
	return hits
}

func TestPatterns(t *testing.T) {
	set := Compile(nil)
	for name, tc := range map[string]struct{ yes, no string }{
		"rsa":           {pemKey("RSA PRIVATE KEY"), pemKey("RSA PUBLIC KEY")},
		"pkcs8":         {pemKey("PRIVATE KEY"), pemKey("CERTIFICATE")},
		"encrypted":     {pemKey("ENCRYPTED PRIVATE KEY"), "-----BEGIN ENCRYPTED PRIVATE KEY-----"},
		"openssh":       {pemKey("OPENSSH PRIVATE KEY"), "-----BEGIN OPENSSH PRIVATE KEY-----\n...\n-----END OPENSSH PRIVATE KEY-----\n"},
		"pgp":           {pemKey("PGP PRIVATE KEY BLOCK"), pemKey("PGP PUBLIC KEY BLOCK")},
		"in json":       {strings.ReplaceAll(pemKey("PRIVATE KEY"), "\n", `\n`), strings.ReplaceAll(pemKey("PUBLIC KEY"), "\n", `\n`)},
		"other end":     {pemKey("EC PRIVATE KEY"), "-----BEGIN EC PRIVATE KEY-----\n" + body + "-----END RSA PRIVATE KEY-----\n"},
		"placeholder":   {pemKey("DSA PRIVATE KEY"), "-----BEGIN DSA PRIVATE KEY-----\n" + strings.Repeat("A", 64) + "\n-----END DSA PRIVATE KEY-----\n"},
		"putty":         {"PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nPrivate-Lines: 1\nAAAA", "PuTTY-User-Key-File-3 is a format"},
		"age":           {"AGE-SECRET-KEY-1" + strings.Repeat("QPZRY9X8GF2T", 4) + "QPZRY9X8GF", "AGE-SECRET-KEY-1 is how they begin"},
		"aws":           {keyID + "\n" + secret, "AKIAIOSFODNN7" + "EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY"},
		"aws secret":    {"aws_secret_access_key = " + secret, "aws_secret_access_key = "},
		"aws env":       {"export AWS_SECRET_ACCESS_KEY=" + secret, "export AWS_SECRET_ACCESS_KEY=da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		"aws json":      {`"SecretAccessKey": "` + secret + `"`, `"SecretAccessKey": "..."`},
		"aws in base64": {"key " + keyID, "xy" + keyID},
		"role id":       {"ASI" + keyID[3:] + " " + secret, "AROA" + keyID[4:] + " " + secret},
		"github":        {"ghp_" + "0123456789abcdefghijABCDEFGHIJ012345", "ghp_short"},
		"github fine":   {"github_pat_" + strings.Repeat("11AB0cdeFgh", 6), "github_pat_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
		"gitlab":        {"glpat-" + "abc1def2ghi3jkl4mno5", "glpat-"},
		"slack":         {"xoxb-" + "123456789012-123456789012-abcDEF", "xoxb-your-token"},
		"google":        {"AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q", "AIzaSy"},
		"stripe":        {"sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"},
		"npm":           {"npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "npm_config_registry=https://registry.example"},
		"pypi":          {"pypi-AgEI" + strings.Repeat("cHlwaS5vcmc1", 5), "pypi-AgEI"},
		"sendgrid":      {"SG." + "abcdefghij1234567890AB" + "." + "abcdefghij1234567890ABCDEFGHIJabcdefghij123", "SG.Net.Config"},
		"vault":         {"hvs." + "CAESIJ1234567890abcdefghijklmnop", "hvs.c is a file"},
		"docker":        {"dckr_pat_" + "abcDEF123456ghiJKL789mnoPQ-", "dckr_pat_"},
		"service":       {`{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\n"}`, `{"type": "service_account"}`},
		"password":      {"password=hunter2two", "# password=hunter2two"},
		"bearer":        {"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9", "Bearer eyJ"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, scanText(t, set, "before\n"+tc.yes+"\nafter"))
			require.Empty(t, scanText(t, set, "before\n"+tc.no+"\nafter"))
			// A binary in UTF-16, little and big endian.
			for _, big := range []bool{false, true} {
				hits := scanText(t, set, "\x7fELF\x01\x02"+wide(tc.yes, big)+"\xff\xfe")
				require.NotEmpty(t, hits, "big endian: %v", big)
				require.True(t, hits[0].Wide)
			}
		})
	}
}

func TestKeyIDAlone(t *testing.T) {
	hits := scanText(t, Compile(nil), "id "+keyID+" and no more")
	require.Len(t, hits, 1)
	require.True(t, hits[0].Weak)
	hits = scanText(t, Compile(nil), keyID+" "+secret)
	require.False(t, hits[0].Weak)
}

func TestNeedles(t *testing.T) {
	const value = "s3cr?t value&more"
	set := NeedlesOnly([]Needle{{"db password", value}, {"short", "1234567"}})
	for name, text := range map[string]string{
		"plain":  value,
		"url":    url.QueryEscape(value),
		"wide":   wide(value, false),
		"base64": base64.StdEncoding.EncodeToString([]byte(value)),
	} {
		hits := scanText(t, set, "xx"+text+"yy")
		require.NotEmpty(t, hits, name)
		require.NotContains(t, fmt.Sprint(hits), "s3cr")
	}
	for pad := range 3 {
		for tail := range 3 {
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", pad) + value + strings.Repeat("p", tail)))
			require.NotEmpty(t, scanText(t, set, text), "%d %d", pad, tail)
		}
	}
	require.Empty(t, scanText(t, set, "1234567 s3cr?t value&mor"))
}

// What lies across two reads is found, once, wherever the border is.
func TestBorders(t *testing.T) {
	set := Compile(nil)
	key := pemKey("RSA PRIVATE KEY")
	for _, at := range []int{0, 1, chunk - 300, chunk, chunk + ahead - 100, chunk + ahead + behind - 7, 3*chunk + 11} {
		text := append(bytes.Repeat([]byte("a\n"), at/2), key...)
		text = append(text, bytes.Repeat([]byte("b"), 2*chunk)...)
		for _, r := range []io.Reader{bytes.NewReader(text), iotest.HalfReader(bytes.NewReader(text))} {
			var hits []Hit
			require.NoError(t, set.Scanner().Scan(r, func(h Hit) { hits = append(hits, h) }))
			require.Len(t, hits, 1, "at %d", at)
			require.Equal(t, int64(at/2*2), hits[0].Offset)
		}
	}
}

func TestReadErrors(t *testing.T) {
	err := Compile(nil).Scanner().Scan(iotest.ErrReader(io.ErrClosedPipe), func(Hit) {})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(pemKey("PRIVATE KEY")))
	f.Add([]byte(keyID + secret))
	f.Add([]byte(wide("password=hunter2two", true)))
	set := Compile([]Needle{{"n", "needle in it"}})
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, set.Scanner().Scan(bytes.NewReader(data), func(h Hit) {
			require.Less(t, h.Offset, int64(len(data)))
		}))
		planted := append(bytes.Clone(data), "needle in it"...)
		n := 0
		require.NoError(t, set.Scanner().Scan(bytes.NewReader(planted), func(h Hit) { n++ }))
		require.Positive(t, n)
	})
}

// The parts of a text that are gone through together lose nothing where they
// meet, and tell nothing twice.
func TestPlaces(t *testing.T) {
	set := Compile(nil)
	for size := range 120 {
		for at := range max(0, size-window+1) {
			text := []byte(strings.Repeat(".", at) + "AKIA" + strings.Repeat(".", size-window-at))
			for _, next := range []int{0, at / 2, at} {
				places, end := set.places(text, next, len(text)-window+1)
				require.Equal(t, []int{at}, places, "%d of %d from %d", at, size, next)
				require.GreaterOrEqual(t, end, len(text)-window+1)
			}
			places, _ := set.places(text, at+1, len(text)-window+1)
			require.Empty(t, places)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	set := Compile([]Needle{{"n", "needle in it"}})
	text := bytes.Repeat([]byte("The quick brown fox, func main() { x.y = 3; } -----\x00\x01\x02\x03\x00\x00\x00\x00"), 1<<16)
	s := set.Scanner()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_ = s.Scan(bytes.NewReader(text), func(Hit) {})
	}
}
