package jobs

import "slices"

// tick is two clock ticks in ns: how far a coarse clock of busy time may lag behind the groups' fine ones.
const tick = int64(20e6)

// Settle moves the energy of every interval to accounts whose end is reached by all living groups and machine counters,
// or is older than the retention at time now. It allocates nothing in steady state.
func (l *Ledger) Settle(now int64) {
	until := l.horizon()
	until = max(until, now-l.Retention)
	l.settle(until)
	l.trim(now)
}

// SettleAll settles everything, at the end of a trace.
func (l *Ledger) SettleAll() { l.settle(open) }

func (l *Ledger) settle(until int64) {
	for _, s := range l.sensors {
		k := 0
		for ; k+1 < len(s.pending) && s.pending[k+1].t <= until; k++ {
			l.interval(s, &s.pending[k], &s.pending[k+1])
			s.based = true
		}
		if k > 0 {
			s.pending = s.pending[:copy(s.pending, s.pending[k:])]
		}
	}
}

// horizon is the time up to which every living group and every machine counter is known.
func (l *Ledger) horizon() int64 {
	h := open
	for i := range l.busy {
		if l.busy[i].told {
			h = min(h, l.busy[i].last().t)
		}
	}
	if len(l.parent.s) > 0 {
		h = min(h, l.parent.last().t)
	}
	for _, j := range l.jobs {
		if j.Live() {
			h = min(h, j.u.last().t)
		}
		for _, s := range j.steps {
			if s.Live() {
				h = min(h, s.u.last().t)
			}
		}
	}
	return h
}

// trim forgets history that no sensor within the retention needs.
func (l *Ledger) trim(now int64) {
	from := open
	for _, s := range l.sensors {
		if len(s.pending) > 0 && s.pending[0].t >= now-l.Retention {
			from = min(from, s.pending[0].t)
		}
		for len(s.floors) > 1 && len(s.pending) > 0 && s.floors[1].t <= s.pending[0].t {
			s.floors = slices.Delete(s.floors, 0, 1)
		}
		for len(s.holders) > 1 && len(s.pending) > 0 && s.holders[1].t <= s.pending[0].t {
			s.holders = slices.Delete(s.holders, 0, 1)
		}
	}
	if from == open { // no sensor will ask for what was
		from = now
	}
	for i := range l.busy {
		l.busy[i].trim(from)
	}
	l.parent.trim(from)
	for _, j := range l.jobs {
		j.trim(from)
		for _, s := range j.steps {
			s.trim(from)
		}
	}
	oldest := now - l.Retention
	for _, s := range l.sensors {
		if len(s.pending) > 0 {
			oldest = min(oldest, s.pending[0].t)
		}
	}
	isOld := func(t int64) bool { return t < oldest }
	l.restarts = slices.DeleteFunc(l.restarts, isOld)
	l.reboots = slices.DeleteFunc(l.reboots, isOld)
}

// weights are the claims' weights that are no job's, of one interval.
type weights struct {
	van, sys uint64
	nd       uint64 // CPUs covered · length
	d        int64
	a, b     int64
	straddle bool // a restart of the agent lies in it
}

// interval settles (a, b].
func (l *Ledger) interval(s *sensor, a, b *reading) {
	e, ok := s.energy(l, a, b)
	d := b.t - a.t
	if !ok {
		s.unmeasured += d
		s.carryVan, s.carrySys = 0, 0
		return
	}
	w := weights{a: a.t, b: b.t, d: d, nd: uint64(s.n) * uint64(d)}
	w.straddle = slices.ContainsFunc(l.restarts, func(r int64) bool { return a.t < r && r <= b.t })
	l.attend(s, &w)
	before := s.totals
	s.totals.MeasuredUJ += e
	s.lastUW = mulDiv(e, 1e9, uint64(d))
	l.touched = l.touched[:0]
	switch {
	case s.held:
		l.give(s, &w, e, l.heldClaims(s, &w))
	case l.policy == PolicyUsage:
		l.give(s, &w, e, l.usageClaims(s, &w))
	case l.policy == PolicyCapacity:
		l.give(s, &w, e, l.capacityClaims(s, &w))
	case l.policy == PolicyAllocated:
		l.give(s, &w, e, l.allocatedClaims(s, &w))
	default:
		floor := min(e, mulDiv(s.floorAt(b.t), uint64(d), 1e9))
		if floor > 0 {
			l.give(s, &w, floor, l.allocatedClaims(s, &w))
		}
		if e > floor {
			l.give(s, &w, e-floor, l.usageClaims(s, &w))
		}
	}
	for _, g := range l.touched {
		l.share(s, &w, g)
	}
	l.cover(s, &w, before)
}

// attend measures every job's use of the interval, and what vanished and the system used. The carries are kept whatever
// the policy is.
func (l *Ledger) attend(s *sensor, w *weights) {
	var known, mine uint64
	for _, j := range l.jobs {
		m := j.measure(w.a, w.b)
		known += m.du
		mine += l.on(s, j, m.du, w.b)
	}
	x := int64(l.parent.at(w.b)-l.parent.at(w.a)) - int64(known) + s.carryVan
	s.carryVan = max(min(0, x), -tick*int64(l.n))
	w.van = mulDiv(uint64(max(0, x)), uint64(s.n), uint64(l.n))
	var busy uint64
	for i := range l.busy {
		if b := &l.busy[i]; b.told && (s.socket < 0 || s.socket == i) {
			busy += b.at(w.b) - b.at(w.a)
		}
	}
	x = int64(busy) - int64(mine) - int64(w.van) + s.carrySys
	s.carrySys = max(min(0, x), -tick*int64(s.n))
	w.sys = uint64(max(0, x))
}

// on is the part of x that falls on the sensor's CPUs: a job's CPU time spreads evenly over its cpuset.
func (l *Ledger) on(s *sensor, j *Group, x uint64, b int64) uint64 {
	if x == 0 {
		return 0
	}
	in, total := l.overlap(s, j, b)
	return mulDiv(x, uint64(in), uint64(total))
}

// overlap is |cpus(j) ∩ D| and |cpus(j)| as of b.
func (l *Ledger) overlap(s *sensor, j *Group, b int64) (in, total int) {
	c := j.cpusAt(b)
	switch {
	case c == nil:
		return s.n, l.n
	case s.socket < 0:
		return c.machine, c.total
	}
	return c.socket[s.socket], c.total
}

func (l *Ledger) usageClaims(s *sensor, w *weights) []claim {
	c := l.claims[:0]
	used := false
	for _, j := range l.jobs {
		if u := l.on(s, j, j.memo.du, w.b); u > 0 {
			c = append(c, claim{name: j.name, weight: u, to: j})
			used = true
		}
	}
	if !used && w.sys == 0 && w.van == 0 {
		return l.rest(s, w, c, 1, true)
	}
	return l.ours(s, w, c)
}

func (l *Ledger) capacityClaims(s *sensor, w *weights) []claim {
	c := l.claims[:0]
	sum := w.sys + w.van
	for _, j := range l.jobs {
		if u := l.on(s, j, j.memo.du, w.b); u > 0 {
			c = append(c, claim{name: j.name, weight: u, to: j})
			sum += u
		}
	}
	c = l.ours(s, w, c)
	return l.rest(s, w, c, less(w.nd, sum), sum == 0)
}

func (l *Ledger) allocatedClaims(s *sensor, w *weights) []claim {
	c := l.claims[:0]
	sum := uint64(0)
	for _, j := range l.jobs {
		if j.memo.exist == 0 {
			continue
		}
		in, _ := l.overlap(s, j, w.b)
		if held := uint64(in) * uint64(j.memo.exist); held > 0 {
			c = append(c, claim{name: j.name, weight: held, to: j})
			sum += held
		}
	}
	return l.rest(s, w, c, less(w.nd, sum), sum == 0)
}

// heldClaims divides each stretch of the interval equally among the jobs that hold the device.
func (l *Ledger) heldClaims(s *sensor, w *weights) []claim {
	c := l.claims[:0]
	given := uint64(0)
	for i := range s.holders {
		from, to := max(w.a, s.holders[i].t), w.b
		if i+1 < len(s.holders) {
			to = min(to, s.holders[i+1].t)
		}
		k := len(s.holders[i].jobs)
		if k == 0 || to <= from {
			continue
		}
		part := uint64(to-from) / uint64(k)
		if part == 0 {
			continue
		}
		for _, j := range s.holders[i].jobs {
			given += part
			if x := slices.IndexFunc(c, func(y claim) bool { return y.to == j }); x >= 0 {
				c[x].weight += part
			} else {
				c = append(c, claim{name: j.name, weight: part, to: j})
			}
		}
	}
	return l.rest(s, w, c, uint64(w.d)-given, given == 0)
}

// ours adds the system's and the vanished groups' claims.
func (l *Ledger) ours(s *sensor, w *weights, c []claim) []claim {
	if w.sys > 0 {
		c = append(c, claim{name: System, weight: w.sys, sum: &s.totals.SystemUJ})
	}
	if w.van > 0 {
		c = append(c, claim{name: Vanished, weight: w.van, sum: &s.totals.VanishedUJ})
	}
	return c
}

// rest adds idle's claim; if it is the only one and the agent was down meanwhile, nobody knows who used the energy.
func (l *Ledger) rest(s *sensor, w *weights, c []claim, weight uint64, only bool) []claim {
	if only && w.straddle {
		return append(c, claim{name: Unobserved, weight: weight, sum: &s.totals.UnobservedUJ})
	}
	if weight > 0 {
		c = append(c, claim{name: Idle, weight: weight, sum: &s.totals.IdleUJ})
	}
	return c
}

func less(a, b uint64) uint64 {
	if a <= b {
		return 0
	}
	return a - b
}

// give splits e among the claims and remembers which jobs got something.
func (l *Ledger) give(s *sensor, w *weights, e uint64, c []claim) {
	l.claims = c // keeps what was grown
	if !split(e, c) {
		if w.straddle { // a sensor that covers no CPU: nobody can have used it
			s.totals.UnobservedUJ += e
		} else {
			s.totals.IdleUJ += e
		}
		return
	}
	for i := range c {
		switch x := &c[i]; {
		case x.uj == 0:
		case x.sum != nil:
			*x.sum += x.uj
		default:
			if x.to.part == 0 {
				l.touched = append(l.touched, x.to)
			}
			x.to.part += x.uj
		}
	}
}

// share books what a job got and splits it among its steps.
func (l *Ledger) share(s *sensor, w *weights, j *Group) {
	uj := j.part
	j.part = 0
	j.dirty = true
	l.book(s, w, j, &j.figures[s.index], uj)
	c := l.stepClaim[:0]
	used, all := uint64(0), l.on(s, j, j.measure(w.a, w.b).du, w.b)
	for _, st := range j.steps {
		if u := l.on(s, j, st.measure(w.a, w.b).du, w.b); u > 0 {
			c = append(c, claim{name: st.name, weight: u, to: st})
			used += u
		}
	}
	if rest := less(all, used); rest > 0 || used == 0 {
		c = append(c, claim{name: Between, weight: max(rest, 1), to: j})
	}
	l.stepClaim = c
	split(uj, c)
	for i := range c {
		if g := c[i].to; g == j {
			l.book(s, w, j, &j.between[s.index], c[i].uj)
		} else {
			l.book(s, w, g, &g.figures[s.index], c[i].uj)
		}
	}
}

func (l *Ledger) book(s *sensor, w *weights, g *Group, f *figure, uj uint64) {
	f.uj += uj
	if w.straddle {
		f.late += uj
	}
	if m := g.measure(w.a, w.b); m.exist < w.d {
		f.uncertain += mulDiv(uj, uint64(w.d-m.exist), uint64(w.d))
	}
	f.turn(w.a, w.b, mulDiv(uj, 1e9, uint64(w.d)), s.stepNs)
}

// turn notes the group's power in the interval (a, b]. The sensor's counter is updated in steps, so that a reading may be
// late by one of them: where the group's power changes between two intervals, that much times the change is uncertain.
func (f *figure) turn(a, b int64, uw uint64, stepNs int64) {
	if f.at != a {
		f.uncertain += f.edge(stepNs)
		f.uw = 0
	}
	f.uncertain += mulDiv(max(f.uw, uw)-min(f.uw, uw), uint64(stepNs), 1e9)
	f.uw, f.at = uw, b
}

// edge is what is uncertain if the group's power ends here.
func (f *figure) edge(stepNs int64) uint64 { return mulDiv(f.uw, uint64(stepNs), 1e9) }

// cover keeps, for each job, how much of its life lies between readings, and what the sensor did meanwhile.
func (l *Ledger) cover(s *sensor, w *weights, before Totals) {
	for _, j := range l.jobs {
		f := &j.figures[s.index]
		if x := j.memo.exist; x > 0 {
			f.covered += x
			if !f.seen {
				f.seen, f.from = true, before
			}
			f.closed = false
		} else if f.seen && !f.closed {
			f.closed, f.to = true, before
		}
	}
}
