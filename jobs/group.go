package jobs

import "slices"

// Group is a job or one of its steps, as the ledger follows it. It belongs to the ledger; schedulers hold it as a handle.
type Group struct {
	ID   ID
	Step string // empty: the job itself

	name  string // of its account: `slurm/10707`, or the step's own name
	job   *Group // of a step; nil for a job
	steps []*Group
	done  map[string]*Group // steps that ended, were settled and recorded; off the hot path
	known bool              // was begun or found: has steps of its own, if only `between`

	u                timeline
	base, raw, zero  uint64 // the incarnation's start on the timeline, its last raw value, the raw value that counts as 0
	lives            []span
	cpus             []cpuset // by time; jobs only
	final            Final
	figures          []figure // by sensor index
	between          []figure // by sensor index; jobs only
	firstLife, seenT int64    // the begin of the first life; the time of the last line told of the group

	facts     Facts
	seenBegin bool
	nlives    int
	wallBegin int64
	wallEnd   int64
	existed   int64 // ns of lives that were trimmed
	dirty     bool

	// Values for the interval being settled: usage, existence, weight among siblings, and the µJ given.
	memo intervalMemo
	part uint64
}

// figure is what one sensor gave to a group, cumulative; see [Figure].
type figure struct {
	uj, late, uncertain uint64
	covered             int64
	sent                uint64 // of uj, what was handed out as points
	from, to            Totals
	seen, closed        bool
	uw                  uint64 // power in the last interval that gave something, which ended at
	at                  int64
}

// cpuset is the CPUs of a job from t on: how many in all, how many of the machine, and how many of each socket.
type cpuset struct {
	t       int64
	list    []int
	total   int
	machine int
	socket  []int
}

type intervalMemo struct {
	a, b  int64
	du    uint64
	exist int64
}

// Live tells whether the group exists as far as the ledger knows.
func (g *Group) Live() bool { return len(g.lives) > 0 && g.lives[len(g.lives)-1].end == open }

// Name is the name of the group's account.
func (g *Group) Name() string { return g.name }

// Job is the job of a step, and a job itself.
func (g *Group) Job() *Group {
	if g.job != nil {
		return g.job
	}
	return g
}

// CPUNs is the CPU time that the group has used, all incarnations, as of its last sample.
func (g *Group) CPUNs() uint64 { return g.u.last().v }

// Raw is the last counter value told, of the present incarnation.
func (g *Group) Raw() uint64 { return g.raw }

func (g *Group) begin(t int64) {
	g.base = g.u.last().v
	g.raw, g.zero = 0, 0
	g.u.add(t, g.base)
	g.live(t)
}

func (g *Group) found(t int64, c uint64) {
	g.base = g.u.last().v
	g.raw, g.zero = c, c
	g.u.add(t, g.base)
	g.live(t)
}

func (g *Group) live(t int64) {
	g.known, g.dirty, g.final = true, true, FinalNone
	if g.Live() {
		return
	}
	if g.firstLife == 0 {
		g.firstLife = t
	}
	g.nlives++
	g.lives = append(g.lives, span{t, open})
}

func (g *Group) usage(t int64, c uint64) {
	if len(g.u.s) == 0 {
		g.found(t, c)
		return
	}
	if c < g.raw {
		g.base, g.zero = g.u.last().v, 0
	}
	g.raw = c
	g.u.add(t, g.base+c-g.zero)
}

func (g *Group) end(t int64) {
	g.dirty = true
	if g.Live() {
		g.lives[len(g.lives)-1].end = t
	}
}

// measure fills the memo for the interval (a, b].
func (g *Group) measure(a, b int64) *intervalMemo {
	if m := &g.memo; m.a != a || m.b != b {
		*m = intervalMemo{a: a, b: b, du: g.u.at(b) - g.u.at(a), exist: exist(g.lives, a, b)}
	}
	return &g.memo
}

// cpusAt is the cpuset in force at t; nil: unknown, all CPUs.
func (g *Group) cpusAt(t int64) *cpuset {
	for i := len(g.cpus) - 1; i >= 0; i-- {
		if c := &g.cpus[i]; c.t <= t {
			if c.total == 0 {
				return nil
			}
			return c
		}
	}
	return nil
}

// trim forgets history before from.
func (g *Group) trim(from int64) {
	g.u.trim(from)
	for len(g.cpus) > 1 && g.cpus[1].t <= from {
		g.cpus = slices.Delete(g.cpus, 0, 1)
	}
	for len(g.lives) > 1 && g.lives[0].end <= from {
		g.existed += g.lives[0].end - g.lives[0].begin
		g.lives = slices.Delete(g.lives, 0, 1)
	}
}

// existedUntil is how long the group existed up to t, all lives, in ns.
func (g *Group) existedUntil(t int64) int64 { return g.existed + exist(g.lives, -open, t) }

// endTime is when the group ended; open while it lives.
func (g *Group) endTime() int64 {
	if n := len(g.lives); n > 0 {
		return g.lives[n-1].end
	}
	return max(g.firstLife, g.u.last().t)
}

func (g *Group) grow(sensors int) {
	for len(g.figures) < sensors {
		g.figures = append(g.figures, figure{})
		if g.job == nil {
			g.between = append(g.between, figure{})
		}
	}
	for s := range g.allSteps {
		s.grow(sensors)
	}
}

// allSteps yields the steps that may still change and those that are done.
func (g *Group) allSteps(yield func(*Group) bool) {
	for _, s := range g.steps {
		if !yield(s) {
			return
		}
	}
	for _, s := range g.done {
		if !yield(s) {
			return
		}
	}
}
