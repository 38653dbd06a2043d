// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// preparePolling fills in what the template leaves open from the variables
// that users of Packer's own Amazon plugin know.
func (c *Config) preparePolling(p *problems) {
	if c.Polling.DelaySeconds < 0 || c.Polling.MaxAttempts < 0 {
		p.add("aws_polling", "delay_seconds and max_attempts must not be negative", "leave them out for the defaults")
	}
	c.Polling.DelaySeconds = cmp.Or(c.Polling.DelaySeconds, envNumber(p, "AWS_POLL_DELAY_SECONDS"), defaultPollDelay)
	seconds := cmp.Or(envNumber(p, "AWS_TIMEOUT_SECONDS"), int(defaultPollTime/time.Second))
	fitting := max(seconds/max(c.Polling.DelaySeconds, 1), 1)
	c.Polling.MaxAttempts = cmp.Or(c.Polling.MaxAttempts, envNumber(p, "AWS_MAX_ATTEMPTS"), fitting)
}

func envNumber(p *problems, name string) int {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		p.add(name, fmt.Sprintf("must be a positive number, is %q", text), "correct or unset the variable")
		return 0
	}
	return n
}

// waiter polls as the template says.
func (c Config) waiter() wait.Waiter {
	return wait.Waiter{Delay: time.Duration(c.Polling.DelaySeconds) * time.Second, Attempts: c.Polling.MaxAttempts}
}
