// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package browsertest holds the tests of the dashboard in a real browser: a
// started platform, a real agent, and Chromium without a screen.
package browsertest
