package cgroups

import (
	"errors"
	"log/slog"
	"os/user"
	"slices"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// DefaultRefresh is how often everything is looked at again, in case that an event was missed.
const DefaultRefresh = 30 * time.Second

// Tracker follows the groups of all jobs of a node and tells the books what they use. One is made for an agent and given to
// all schedulers' plugins: they attach their matchers while the agent opens its plugins, and from then on every source
// calls Refresh. All methods but those of [Followed] belong to the main lane.
type Tracker struct {
	books jobs.Books

	// From Attach.
	log      *slog.Logger
	sys      string
	proc     string
	edge     func()
	matchers []Matcher
	refresh  time.Duration
	sources  []*Points

	queue   queue
	watch   *watcher
	facts   *describer
	lookup  func(uid string) (*user.User, error) // of tests; nil: the system's
	busy    *busy
	attempt bool  // to start was tried
	closed  bool  // nothing is started any more
	ran     bool  // last is set
	last    int64 // Boot of the last Refresh

	nodes   []*node // all that count, parents before children
	open    []*node // of these, those with an open CPU counter
	ending  []*node // those with due sub-lives
	window  int64   // when the present window of own use began
	units   []*unit // jobs and steps that the books hold open, jobs before their steps
	waiting bool    // of these, some are not begun yet
	byName  map[unitKey]*unit
	own     []*Followed // jobs beside the groups
	bare    []*bare     // steps without a CPU counter

	saidBare bool
	buf      []byte

	parents parents
	state   state
	scopes  []scope // that this run watches
}

// New makes a tracker that tells books.
func New(books jobs.Books) *Tracker {
	return &Tracker{books: books, log: slog.New(slog.DiscardHandler), edge: func() {}, byName: map[unitKey]*unit{},
		refresh: DefaultRefresh, buf: make([]byte, 8192)}
}

// Options are what a scheduler wants of the tracker.
type Options struct {
	// Refresh is how often everything is to be scanned, whatever the kernel reports; 0: [DefaultRefresh].
	Refresh time.Duration
}

// On tells the tracker the roots of sysfs and procfs and the log, for agents without a scheduler's plugin: how busy the node
// is and programs that the agent starts are of interest there, too. edge asks the agent for a reading between ticks; nil: it
// cannot be asked. The first of On and Attach counts.
func (t *Tracker) On(sys, proc string, log *slog.Logger, edge func()) {
	if t.proc != "" {
		return
	}
	t.sys, t.proc = sys, proc
	if log != nil {
		t.log = log
	}
	if edge != nil {
		t.edge = edge
	}
}

// Attach adds a scheduler's matcher. The plugin that calls it also adds a source whose Poll and Edge call Refresh. The
// tracker starts at the first Refresh, when all plugins are attached, and is closed with the setup.
func (t *Tracker) Attach(s *agent.Setup, m Matcher, o Options) {
	t.On(s.Sys, s.Proc, s.Log, s.Edge)
	t.edge = s.Edge
	t.matchers = append(t.matchers, m)
	if o.Refresh > 0 {
		t.refresh = min(t.refresh, o.Refresh)
	}
	s.OnClose(t.Close)
}

// Refresh reads the counters of all groups and tells the books: groups that have appeared, what all of them use, how busy
// the sockets are, and which have ended. The first call with a given now does the work, later ones return at once. A file
// that cannot be read is logged, once, and does not keep the others from being read: the error is for the future.
func (t *Tracker) Refresh(now agent.Instant) error {
	if t.closed || t.ran && now.Boot == t.last {
		return nil
	}
	if !t.attempt {
		t.attempt = true
		t.start(now)
	}
	t.drain(now)
	t.readAll(now)
	t.lookAround(now)
	t.resolve(now)
	t.readBare()
	t.beginUnits(now)
	t.tell(now)
	t.endUnits(now)
	t.keepState()
	t.last, t.ran = now.Boot, true
	return nil
}

// maxPasses bounds how often everything is read again because a group ended while it was read.
const maxPasses = 4

// readAll reads the CPU counters. Parents come first: what they count is then never more than what their children, read
// later, account for, so that a skew of microseconds is not taken for a vanished job. If a group has ended in between,
// its parent's reading is too old to tell what it used last, and all is read again.
func (t *Tracker) readAll(now agent.Instant) {
	for range maxPasses {
		if !t.readOnce() {
			return
		}
		t.drain(now)
	}
}

// lookAround finds the groups beside those that have ended which the watcher has not noticed yet, and reads them.
func (t *Tracker) lookAround(now agent.Instant) {
	if len(t.ending) == 0 || t.watch == nil {
		return
	}
	for _, n := range t.ending {
		if n.up != nil {
			t.watch.look(n.up, t.ending)
		}
	}
	before := len(t.ending)
	t.drain(now)
	for _, n := range t.open {
		if n.raw != 0 {
			continue
		}
		if v, err := n.read(t.buf); err == nil {
			n.advance(v)
		}
	}
	if len(t.ending) > before {
		t.readAll(now)
	}
}

func (t *Tracker) readOnce() (ended bool) {
	live := t.open[:0]
	for _, n := range t.open {
		v, err := n.read(t.buf)
		if err == nil {
			n.advance(v)
			live = append(live, n)
			continue
		}
		if errors.Is(err, agent.ErrGone) {
			t.endLife(n)
			ended = true
			continue
		}
		live = append(live, n)
		if !n.failed {
			n.failed = true
			t.log.Warn("the CPU time of a control group cannot be read", "group", n.path, "err", err)
		}
	}
	clear(t.open[len(live):])
	t.open = live
	return ended
}

// endLife closes a group's CPU counter and puts it down for its share of the parent's residual.
func (t *Tracker) endLife(n *node) {
	n.end()
	t.state.stale = true
	t.await(n)
}

func (t *Tracker) await(n *node) {
	if !slices.Contains(t.ending, n) {
		t.ending = append(t.ending, n)
	}
}

// tell tells the books the usage of all jobs and steps, the parents' sum and the busy time.
func (t *Tracker) tell(now agent.Instant) {
	for _, f := range t.own {
		f.read(t)
		t.books.Usage(now, f.group, f.cpu)
	}
	for _, u := range t.units {
		if u.group != nil {
			t.books.Usage(now, u.group, u.sum)
		}
	}
	t.tellParents(now)
	if t.busy != nil {
		t.busy.tell(now, t.books, t.log)
	}
}

// start finds the hierarchies and makes the first scan.
func (t *Tracker) start(now agent.Instant) {
	if t.proc == "" {
		return // nobody is attached
	}
	hs, err := Find(t.proc)
	if err != nil {
		t.log.Warn("jobs cannot be followed by their control groups", "err", err)
	}
	t.busy, err = openBusy(t.sys, t.proc, hs)
	if err != nil {
		t.log.Warn("the busy time of the processors is not known: work outside of jobs is not told from idling", "err", err)
	}
	t.scopes = scopesOf(hs, t.matchers)
	t.loadState()
	if len(t.matchers) == 0 || len(hs) == 0 {
		t.afterScan()
		t.endForgotten(now)
		return
	}
	t.facts = newDescriber(t.proc, t.matchers, hs, &t.queue)
	if t.lookup != nil {
		t.facts.lookup = t.lookup
	}
	t.watch = &watcher{
		log: t.log, proc: t.proc, hs: hs, matchers: t.matchers, queue: &t.queue, edge: t.edge,
		points: t.pointsWanted, describe: t.facts.ask, refresh: t.refresh,
	}
	if ofController(hs, "cpuacct") == nil && ofController(hs, "freezer") == nil && !slices.ContainsFunc(hs, func(h Hierarchy) bool { return h.Version == V2 }) {
		t.log.Error("no mounted control group hierarchy counts CPU time (v1 cpuacct, or v2): jobs are seen but their use is not; mount cpuacct")
	}
	t.facts.start()
	t.watch.start()
}

// Close stops following. What the books were told stays.
func (t *Tracker) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	if t.watch != nil {
		errs = append(errs, t.watch.close())
	}
	if t.facts != nil {
		t.facts.close()
	}
	if t.busy != nil {
		errs = append(errs, t.busy.close())
	}
	for _, e := range t.queue.take() {
		if e.file != nil {
			errs = append(errs, e.file.Close())
		}
		e.files.close()
	}
	for _, n := range t.nodes {
		if n.file != nil {
			errs = append(errs, n.file.Close())
		}
		if n.extra != nil {
			n.extra.close()
		}
	}
	return errors.Join(errs...)
}

func (t *Tracker) pointsWanted(m Match) bool {
	return slices.ContainsFunc(t.sources, func(p *Points) bool { return p.want(m) })
}
