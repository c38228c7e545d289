package agenttest

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// Start is the wall clock of a probe before its first tick, 2026-01-02T03:04:05Z in Unix nanoseconds. Its ledger time then
// is one second.
const Start = 1767323045 * int64(time.Second)

// Probe is one plugin on a recorded machine, polled by hand. Its clock stands still between the ticks.
type Probe struct {
	*agent.Opened
	Meter *Meter
	Log   *Log
	// Root is the root of the machine's tree.
	Root string

	t   testing.TB
	now agent.Instant
}

// Open opens a plugin on the machine below root with a configuration; nil: the defaults. The test fails if it cannot be
// opened, and the plugin is closed when the test ends.
func Open(t testing.TB, p agent.Plugin, config any, root string) *Probe {
	t.Helper()
	probe, err := TryOpen(t, p, config, root)
	if err != nil {
		t.Fatal(err)
	}
	return probe
}

// TryOpen is [Open] for a plugin that may fail to open. The probe is never nil: its log tells what was said.
func TryOpen(t testing.TB, p agent.Plugin, config any, root string) (*Probe, error) {
	t.Helper()
	probe := &Probe{Meter: &Meter{}, Log: &Log{}, Root: root, t: t,
		now: agent.Instant{Wall: Start, Boot: int64(time.Second)}}
	opened, err := agent.Open(p, config, agent.OpenOptions{
		Sys: filepath.Join(root, "sys"), Proc: filepath.Join(root, "proc"),
		Log: probe.Log.Logger(), Meter: probe.Meter,
	})
	if err != nil {
		return probe, err
	}
	probe.Opened = opened
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("close plugin %s: %v", p.Name, err)
		}
		if u := probe.Meter.Unknown(); len(u) > 0 {
			t.Errorf("readings of sensors that were not registered: %q", u)
		}
	})
	return probe, nil
}

// Now returns the instant of the probe's clock.
func (p *Probe) Now() agent.Instant { return p.now }

// Advance moves the probe's clock.
func (p *Probe) Advance(d time.Duration) {
	p.now.Wall += d.Nanoseconds()
	p.now.Boot += d.Nanoseconds()
}

// Poll moves the clock by one second and polls a source. The points are the caller's.
func (p *Probe) Poll(source string) ([]agent.Point, error) {
	p.t.Helper()
	src, ok := p.Sources[source]
	if !ok {
		p.t.Fatalf("there is no source %q", source)
	}
	p.Advance(time.Second)
	var b agent.Batch
	err := src.Poll(&b, p.now)
	return b.Points, err
}

// MustPoll is [Probe.Poll] for a poll that has to succeed.
func (p *Probe) MustPoll(source string) []agent.Point {
	p.t.Helper()
	points, err := p.Poll(source)
	if err != nil {
		p.t.Fatalf("poll %s: %v", source, err)
	}
	return points
}

// Edge moves the clock by a millisecond and asks a source for its readings between two ticks.
func (p *Probe) Edge(source string) error {
	p.t.Helper()
	e, ok := p.Sources[source].(agent.Edger)
	if !ok {
		p.t.Fatalf("source %q cannot be read between ticks", source)
	}
	p.Advance(time.Millisecond)
	return e.Edge(p.now)
}

// CheckAllocs fails the test when polling a source, and its edge where it has one, allocates in steady state. move is
// called before each poll and counted with it, so it must not allocate either (see [Mover]); nil: the files stand still.
func (p *Probe) CheckAllocs(source string, move func()) {
	p.t.Helper()
	src := p.Sources[source]
	var b agent.Batch
	edger, _ := src.(agent.Edger)
	CheckAllocs(p.t, source, func() {
		if move != nil {
			move()
		}
		b.Reset()
		p.Meter.Forget()
		p.Advance(time.Second)
		if err := src.Poll(&b, p.now); err != nil {
			p.t.Fatal(err)
		}
		if edger != nil {
			p.Advance(time.Millisecond)
			if err := edger.Edge(p.now); err != nil {
				p.t.Fatal(err)
			}
		}
	})
}

// CheckAllocs fails the test when f allocates, after a few calls to warm up.
func CheckAllocs(t testing.TB, what string, f func()) {
	t.Helper()
	for range 3 {
		f()
	}
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}

// Log collects what a plugin says.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Logger returns a logger that writes lines without times into l, from the debug level on.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
}

// Write implements [io.Writer].
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// String returns what was said so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
