package agent

import (
	"log/slog"
	"time"
)

// element is what all parts of the pipeline have: who declared it, and whether it works.
type element struct {
	plugin, name string
	failures     int // in a row
}

// String returns plugin/name, as logs show it.
func (e *element) String() string { return e.plugin + "/" + e.name }

// note keeps the count of failures and logs when the state changes, not at every failure.
func (e *element) note(log *slog.Logger, what string, err error) {
	switch {
	case err != nil:
		if e.failures++; e.failures == 1 {
			log.Warn(what+" fails and will be tried again", "element", e.String(), "error", err)
		}
	case e.failures > 0:
		log.Info(what+" works again", "element", e.String(), "failures", e.failures)
		e.failures = 0
	}
}

type elements struct {
	sources    []*sourceElement
	feeds      []*feedElement
	transforms []*transformElement
	outputs    []*outputElement
	closers    []func() error
}

type sourceElement struct {
	element
	Schedule
	src     Source
	edger   Edger // src, if it can be read between ticks
	next    int64 // when it is due, ledger time
	flushAt int64
	retryAt int64 // not polled before, after failures
	missing bool  // readings were missed
	pending Batch
}

type feedElement struct {
	element
	feed Feed
}

type transformElement struct {
	element
	transform Transform
}

type outputElement struct {
	element
	out      Output
	queue    *queue
	dropping bool
}

// backOff is how long to wait after n failures in a row: doubling from unit, at most top.
func backOff(n int, unit, top time.Duration) time.Duration {
	if n > 16 {
		return top
	}
	return min(unit<<max(0, n-1), top)
}
