// Package jobenergy keeps the books of one node: it hears every sensor and every job group, has the ledger split the
// energy between them, commits the figures to the store, records a trace when asked, and gives the results to the
// pipeline as `job_energy` points.
package jobenergy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
	"github.com/alumet-hpc/alumet-hpc/jobs/trace"
)

// Book is the books of one node. It implements agent.Metering for the sensors and jobs.Books for the schedulers'
// trackers. Make it with [Open]; it is safe for concurrent use.
type Book struct {
	config  Config
	log     *slog.Logger
	clock   agent.Clock
	refresh func(agent.Instant) error

	mu       sync.Mutex
	l        *jobs.Ledger
	store    *store.Store
	trace    *trace.Writer
	traceEnd io.Closer
	index    map[*agent.Sensor]jobs.SensorIndex
	sensors  []*agent.Sensor   // by index; nil for those of an earlier run
	learners []learner         // by index
	roots    map[string]string // of all sensors that the books know, by name
	fixed    map[string]bool   // sensors whose floor was configured in the last run
	trackers map[string][]byte
	old      map[string][]byte // trackers' states of the run before, in the same boot
	live     int               // open jobs
	ended    bool              // a job ended since the last commit
	nextDue  int64             // when the next commit is due, ledger time

	commits chan *jobs.Record // to the committer
	done    chan struct{}     // the committer has ended
	writing bool              // a commit is on its way
	failing bool              // the last one failed
}

// Options are what the books of a node need beside their configuration.
type Options struct {
	Sys, Proc string
	Log       *slog.Logger
	// Sockets are the machine's CPUs.
	Sockets []jobs.Socket
	// Record is the file to append a trace to; empty: none.
	Record string
	// Node is the node's name, for reports.
	Node string
}

// Open opens the store and takes up the books where the last run left them. Close must be called.
func Open(c Config, o Options) (_ *Book, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	b := &Book{
		config: c, log: o.Log, index: map[*agent.Sensor]jobs.SensorIndex{}, trackers: map[string][]byte{},
		roots:   map[string]string{},
		commits: make(chan *jobs.Record, 1), done: make(chan struct{}),
	}
	if b.store, err = store.Open(c.Store); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.store.Close())
		}
	}()
	if err := b.store.SetNode(o.Node, c.Cluster); err != nil {
		return nil, err
	}
	sameBoot, err := b.startClock(o.Proc)
	if err != nil {
		return nil, err
	}
	if err := b.takeUp(o, sameBoot); err != nil {
		return nil, err
	}
	go b.committer()
	return b, nil
}

// startClock chooses the offset of ledger time: the one kept for this boot, or one that begins after all that is in the
// store. It tells whether the store knows this boot.
func (b *Book) startClock(proc string) (sameBoot bool, err error) {
	if proc == "" {
		proc = "/proc"
	}
	text, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return false, fmt.Errorf("read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(text))
	offset, ok, err := b.store.Boot(id)
	if err != nil {
		return false, err
	}
	if !ok {
		boot := agent.BootNs()
		offset = time.Now().UnixNano() - boot
		last, _, err := b.store.LastTime()
		if err != nil {
			return false, err
		}
		offset = max(offset, last+1-boot)
		if err := b.store.SetBoot(id, offset); err != nil {
			return false, err
		}
	}
	b.clock = agent.Clock{Offset: offset}
	return ok, nil
}

// savedState is what a commit keeps for the next run.
type savedState struct {
	Ledger   json.RawMessage   `json:"ledger"`
	Trackers map[string][]byte `json:"trackers,omitempty"`
	Trace    int64             `json:"trace,omitempty"` // how long the trace was
	Roots    map[string]string `json:"roots,omitempty"` // of the sensors, by name
	Fixed    map[string]bool   `json:"fixed,omitempty"` // the sensors with a configured floor
}

// takeUp loads the last run's state and tells the ledger what happened since: a restart or a reboot.
func (b *Book) takeUp(o Options, sameBoot bool) error {
	b.l = jobs.NewLedger(b.config.Policy)
	saved, resumed, err := b.load(o.Sockets)
	if err != nil {
		return err
	}
	b.fixed = saved.Fixed
	maps.Copy(b.roots, saved.Roots)
	if err := b.startTrace(o.Record, resumed, saved.Trace); err != nil {
		return err
	}
	if !resumed {
		return b.l.Apply(&jobs.Event{Type: jobs.EventMachine, Machine: o.Sockets})
	}
	typ := jobs.EventReboot
	if sameBoot {
		typ, b.old = jobs.EventRestart, saved.Trackers
		b.trackers = maps.Clone(saved.Trackers) // until the trackers tell more: this run may end before
	}
	if err := b.l.Apply(&jobs.Event{Type: typ, T: b.clock.Now().Boot}); err != nil {
		return fmt.Errorf("take up the books: %w", err)
	}
	for j := range b.l.Jobs {
		if j.Live() {
			b.live++
		}
	}
	b.log.Info("books taken up", "after", typ.String(), "jobs_running", b.live)
	return nil
}

func (b *Book) load(sockets []jobs.Socket) (saved savedState, ok bool, err error) {
	blob, ok, err := b.store.State()
	if err != nil || !ok {
		return saved, false, err
	}
	if err := unmarshalState(blob, &saved); err != nil {
		return saved, false, err
	}
	if err := b.l.Load(saved.Ledger); err != nil {
		return saved, false, fmt.Errorf("store %s: %w", b.config.Store, err)
	}
	if b.l.SameMachine(sockets) {
		return saved, true, nil
	}
	b.log.Warn("the node has other CPUs than when it was last measured: jobs that were running are ended in the books and found anew")
	saved.Trace = 0 // a trace cannot tell this
	return saved, true, b.l.Reconfigure(b.clock.Now().Boot, sockets)
}

// Clock is the clock that the agent must use with these books.
func (b *Book) Clock() agent.Clock { return b.clock }

// Follow tells the books how the job groups are read: refresh is called before every settlement.
func (b *Book) Follow(refresh func(agent.Instant) error) { b.refresh = refresh }

// Sensor registers a sensor; see agent.Metering.
func (b *Book) Sensor(s *agent.Sensor) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if root, ok := b.roots[s.Name]; ok && root != s.Root && b.l.Knows(s.Name) {
		if b.trace != nil {
			return fmt.Errorf("sensor %s is read from another root than before: begin a new trace, with a new store", s.Name)
		}
		b.log.Warn("sensor is read from another root than before: its counter begins anew", "sensor", s.Name, "root", s.Root, "before", root)
		b.l.Rebase(b.l.Register(s.Name, s.Socket, s.Holders, s.StepNs))
	}
	b.roots[s.Name] = s.Root
	i := b.l.Register(s.Name, s.Socket, s.Holders, s.StepNs)
	for len(b.sensors) <= int(i) {
		b.sensors = append(b.sensors, nil)
		b.learners = append(b.learners, learner{})
	}
	if b.sensors[i] != nil {
		return fmt.Errorf("sensor %s is registered twice", s.Name)
	}
	b.sensors[i], b.index[s] = s, i
	now := b.clock.Now().Boot
	if s.Holders {
		b.apply(&jobs.Event{Type: jobs.EventHolders, T: now, Sensor: s.Name})
	}
	w, configured := b.config.Floors[s.Name]
	if configured || b.fixed[s.Name] { // one that is configured no longer is forgotten, and may be learned
		b.apply(&jobs.Event{Type: jobs.EventFloor, T: now, Sensor: s.Name, UW: microwatts(w)})
	}
	b.learners[i].fixed = configured
	return nil
}

// Reading tells a cumulative counter; see agent.Meter.
func (b *Book) Reading(s *agent.Sensor, t int64, uj uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, ok := b.index[s]; ok {
		b.l.Read(i, t, uj, limits(s))
	}
}

// Power tells a momentary power; see agent.Meter.
func (b *Book) Power(s *agent.Sensor, t int64, uw uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, ok := b.index[s]; ok {
		b.l.ReadPower(i, t, uw, limits(s))
	}
}

func limits(s *agent.Sensor) jobs.Limits {
	return jobs.Limits{RangeUJ: s.RangeUJ, MaxUW: s.MaxUW, MaxGapNs: s.MaxGapNs}
}

// apply tells the ledger an event of the agent's own; that it is refused would be a fault of the agent.
func (b *Book) apply(e *jobs.Event) {
	if err := b.l.Apply(e); err != nil {
		b.log.Error("the ledger refuses what the agent told it", "error", err)
	}
}

// startTrace begins a trace with new books, or goes on with that of resumed ones.
func (b *Book) startTrace(path string, resumed bool, offset int64) error {
	if path == "" {
		return nil
	}
	if resumed && offset == 0 {
		return fmt.Errorf("record %s: the store %s has books already, and a trace must begin with them: use a new store", path, b.config.Store)
	}
	f, err := trace.OpenAppend(path, offset)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	b.trace, b.traceEnd = trace.NewWriter(f, offset), f
	b.l.Tap(b.trace.Write)
	return nil
}

// Close settles and commits for the last time, and closes the store and the trace. Nothing may be told afterwards.
func (b *Book) Close() error {
	close(b.commits)
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	b.l.Settle(now.Boot)
	last, err := b.prepare(now)
	if err == nil {
		err = b.store.Record(last)
	}
	if b.trace != nil {
		err = errors.Join(err, b.traceEnd.Close())
	}
	if n := b.l.Refused(); n > 0 {
		b.log.Warn("readings came too late to be counted", "readings", n)
	}
	return errors.Join(err, b.store.Close())
}

// UnknownFloors lists the sensors that have a configured floor and do not exist in this run.
func (b *Book) UnknownFloors() (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.config.Floors {
		if _, ok := b.roots[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Registered lists the sensors of this run.
func (b *Book) Registered() []*agent.Sensor {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.sensors), func(s *agent.Sensor) bool { return s == nil })
}
