// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package loglevel translates between the words of people, the numbers of
// RightLink 6 and the levels of slog.
package loglevel

import (
	"fmt"
	"log/slog"
	"strings"
)

// Parse reads debug, info, warn, error or fatal, which is error here.
func Parse(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "fatal":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q; want debug, info, warn or error", text)
}

// Name is the word for a level.
func Name(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// Number is the level in state.js: 0 debug, 1 info, 2 warn, 3 error.
func Number(l slog.Level) int { return int(l)/4 + 1 }

// FromNumber is the opposite of Number.
func FromNumber(n int) slog.Level { return slog.Level((min(max(n, 0), 3) - 1) * 4) }
