package jobs

import "slices"

// The methods of this file are what a running agent uses: the hot ones tell the ledger without an [Event] of their own,
// the others hand out what was settled.

// SensorIndex names a sensor within its ledger.
type SensorIndex int

// Register makes a sensor known before its first reading. socket is negative for all CPUs; held is set for a device
// that jobs hold; stepNs is the time between two updates of its counter.
func (l *Ledger) Register(name string, socket int, held bool, stepNs int64) SensorIndex {
	s := l.sensorOf(name, socket)
	s.held = s.held || held
	s.stepNs = stepNs
	return SensorIndex(s.index)
}

// Read tells a sensor's cumulative counter. It allocates nothing.
func (l *Ledger) Read(i SensorIndex, t int64, uj uint64, limits Limits) {
	l.tell(l.sensors[i], reading{t: t, uj: uj, Limits: limits}, false)
}

// ReadPower tells a sensor's momentary power. It allocates nothing.
func (l *Ledger) ReadPower(i SensorIndex, t int64, uw uint64, limits Limits) {
	l.tell(l.sensors[i], reading{t: t, uw: uw, Limits: limits}, true)
}

// tell takes a reading; the tap hears of those that count.
func (l *Ledger) tell(s *sensor, r reading, isPower bool) {
	if !s.read(l, r, isPower) || l.tap == nil {
		return
	}
	l.told = Event{Type: EventSensor, T: r.t, Sensor: s.name, IsPower: isPower, UJ: r.uj, UW: r.uw, Limits: r.Limits, Socket: -1}
	if s.socket >= 0 {
		l.told.Socket = l.sockets[s.socket].ID
	}
	l.tap(&l.told)
}

// Usage tells a group's counter. It allocates nothing.
func (l *Ledger) Usage(g *Group, t int64, ns uint64) {
	if l.tap != nil {
		j := g.Job()
		l.told = Event{Type: EventUsage, T: t, Job: j.name, Step: g.Step, CPUNs: ns, HasCPUNs: true}
		l.tap(&l.told)
	}
	g.seenT = t
	g.usage(t, ns)
}

// Busy tells the busy time of a socket's CPUs. It allocates nothing. A socket that the machine does not have is ignored.
func (l *Ledger) Busy(t int64, socket int, ns uint64) {
	i := l.socketIndex(socket)
	if i < 0 {
		return
	}
	if l.tap != nil {
		l.told = Event{Type: EventBusy, T: t, Socket: socket, CPUNs: ns}
		l.tap(&l.told)
	}
	l.count(t, i, ns)
}

// Parent tells what the parents of the job groups count. It allocates nothing.
func (l *Ledger) Parent(t int64, ns uint64) {
	if l.tap != nil {
		l.told = Event{Type: EventParent, T: t, CPUNs: ns}
		l.tap(&l.told)
	}
	l.parent.count(t, ns)
}

// Find returns a job or step that the ledger holds, or nil.
func (l *Ledger) Find(id ID, step string) *Group { return l.find(id.String(), step) }

// Knows tells whether the ledger has a sensor of that name.
func (l *Ledger) Knows(sensor string) bool { return l.bySensor[sensor] != nil }

// Rebase makes the sensor's next reading the first one: its counter is not the one that was read before.
func (l *Ledger) Rebase(i SensorIndex) {
	s := l.sensors[i]
	s.pending, s.based, s.fraction, s.carryVan, s.carrySys = nil, false, 0, 0, 0
}

// Jobs yields the jobs that the ledger holds. The caller must not add or forget jobs meanwhile.
func (l *Ledger) Jobs(yield func(*Group) bool) {
	for _, j := range l.jobs {
		if !yield(j) {
			return
		}
	}
}

// Steps yields the steps of a job that have not been recorded for good.
func (g *Group) Steps(yield func(*Group) bool) {
	for _, s := range g.steps {
		if !yield(s) {
			return
		}
	}
}

// SetWall notes wall-clock times of the group's begin or end, in Unix ns; 0 leaves what was there.
func (g *Group) SetWall(begin, end int64) {
	if begin != 0 && g.wallBegin == 0 {
		g.wallBegin = begin
	}
	g.wallEnd = end
	g.dirty = true
}

// SetFinal notes where the group's last reading came from.
func (g *Group) SetFinal(f Final) { g.final = f }

// Facts returns what is known of a job. Changes of the returned value count.
func (g *Group) Facts() *Facts { return &g.facts }

// Deliver yields, for every sensor, account by account, what was settled since the last call, in µJ. For accounts that
// are no job's, job is nil and account is one of [System], [Idle], [Vanished], [Unobserved]. For a job's own sum account
// is empty, for its parts it is the step's name or [Between]. It allocates nothing.
func (l *Ledger) Deliver(yield func(sensor SensorIndex, job *Group, account string, uj uint64)) {
	for i, s := range l.sensors {
		d := s.totals.Sub(s.sent)
		if d.MeasuredUJ == 0 {
			continue
		}
		s.sent = s.totals
		for _, x := range [...]struct {
			name string
			uj   uint64
		}{{System, d.SystemUJ}, {Idle, d.IdleUJ}, {Vanished, d.VanishedUJ}, {Unobserved, d.UnobservedUJ}} {
			if x.uj > 0 {
				yield(SensorIndex(i), nil, x.name, x.uj)
			}
		}
		for _, j := range l.jobs {
			f := &j.figures[i]
			if f.uj == f.sent {
				continue
			}
			yield(SensorIndex(i), j, "", f.take())
			for _, st := range j.steps {
				if f := &st.figures[i]; f.uj != f.sent {
					yield(SensorIndex(i), j, st.name, f.take())
				}
			}
			if f := &j.between[i]; f.uj != f.sent {
				yield(SensorIndex(i), j, Between, f.take())
			}
		}
	}
}

func (f *figure) take() uint64 {
	d := f.uj - f.sent
	f.sent = f.uj
	return d
}

// SensorState is how far a sensor has come.
type SensorState struct {
	Totals       Totals
	UnmeasuredNs int64
	SettledT     int64  // time of the last settled reading; 0: none
	LastUW       uint64 // average power over the last settled interval
	FloorUW      uint64
	HasFloor     bool
}

// State returns how far a sensor has come.
func (l *Ledger) State(i SensorIndex) SensorState {
	s := l.sensors[i]
	x := SensorState{Totals: s.totals, UnmeasuredNs: s.unmeasured, LastUW: s.lastUW, HasFloor: s.floorFixed || len(s.floors) > 0}
	if len(s.pending) > 0 {
		x.SettledT = s.pending[0].t
		x.FloorUW = s.floorAt(s.pending[len(s.pending)-1].t)
	}
	x.HasFloor = x.HasFloor && x.FloorUW > 0
	return x
}

// Records appends a record of every job that changed since its last record, or that lives, to list. now is ledger time.
// When the records are durable the caller says so with Recorded, otherwise with Unrecorded; other events may be told
// meanwhile.
func (l *Ledger) Records(list []JobRecord, now int64) []JobRecord {
	settled := l.settledSince(now)
	l.closing = l.closing[:0]
	for _, j := range l.jobs {
		if !j.known && j.firstLife == 0 || !j.dirty && !j.Live() {
			continue
		}
		list = append(list, l.record(j, settled))
		j.dirty = false
		if !j.Live() && (j.endTime() > settled || slices.ContainsFunc(j.steps, (*Group).Live)) {
			j.dirty = true // there is more to come
		} else if !j.Live() && !l.delivered(j) {
			j.dirty = true // what it got at its end is not handed out yet
		} else if !j.Live() {
			l.closing = append(l.closing, j)
		}
		for _, s := range j.steps {
			if s.dirty = s.Live() || s.endTime() > settled || !sent(s.figures); !s.dirty {
				l.closing = append(l.closing, s)
			}
		}
	}
	return list
}

// delivered tells whether all of a job's and its steps' energy was handed out by Deliver.
func (l *Ledger) delivered(j *Group) bool {
	return sent(j.figures) && sent(j.between) && !slices.ContainsFunc(j.steps, func(s *Group) bool { return !sent(s.figures) })
}

func sent(figures []figure) bool {
	return !slices.ContainsFunc(figures, func(f figure) bool { return f.uj != f.sent })
}

// Recorded tells that the last Records are durable. Jobs and steps that ended and can get no more energy are then
// forgotten or put aside.
func (l *Ledger) Recorded() {
	for _, g := range l.closing {
		switch j := g.job; {
		case g.dirty || g.Live(): // it has come back
		case j == nil:
			g.dirty = !l.Forget(g)
		default:
			if j.done == nil {
				j.done = map[string]*Group{}
			}
			j.done[g.name] = g
			j.steps = slices.DeleteFunc(j.steps, func(s *Group) bool { return s == g })
		}
	}
	l.closing = l.closing[:0]
}

// Unrecorded tells that the last Records were lost: the next ones will hold everything again.
func (l *Ledger) Unrecorded() {
	for _, j := range l.jobs {
		j.dirty = true
		for _, s := range j.steps {
			s.dirty = true
		}
	}
	l.closing = l.closing[:0]
}

func (l *Ledger) record(j *Group, settled int64) JobRecord {
	r := JobRecord{
		ID: j.ID, Facts: j.facts, Begin: j.firstLife, WallBegin: j.wallBegin, SeenBegin: j.seenBegin, FinalReading: j.final,
		Lives: j.nlives, CPUNs: j.CPUNs(), ExistNs: j.existedUntil(settled), Policy: l.policy.String(),
	}
	if n := len(j.cpus); n > 0 {
		r.Facts.CPUs = j.cpus[n-1].list
	}
	if !j.Live() {
		r.End, r.WallEnd = j.endTime(), j.wallEnd
	}
	for _, st := range j.steps {
		x := StepRecord{Step: st.name, Begin: st.firstLife, WallBegin: st.wallBegin, SeenBegin: st.seenBegin, CPUNs: st.CPUNs(), FinalReading: st.final}
		if !st.Live() {
			x.End, x.WallEnd = st.endTime(), st.wallEnd
		}
		r.Steps = append(r.Steps, x)
	}
	for i, s := range l.sensors {
		f := &j.figures[i]
		if !f.seen && f.uj == 0 {
			continue
		}
		to := s.totals
		if f.closed {
			to = f.to
		}
		whole := f.record(s, "")
		whole.CoveredNs, whole.Meanwhile = f.covered, to.Sub(f.from)
		r.Figures = append(r.Figures, whole)
		for _, st := range j.steps {
			r.Figures = append(r.Figures, st.figures[i].record(s, st.name))
		}
		r.Figures = append(r.Figures, j.between[i].record(s, Between))
	}
	return r
}

func (f *figure) record(s *sensor, step string) Figure {
	return Figure{Sensor: s.name, Step: step, UJ: f.uj, LateUJ: f.late, UncertainUJ: min(f.uj, f.uncertain+f.edge(s.stepNs))}
}

// settledSince is the time up to which every sensor that still tells anything has been settled.
func (l *Ledger) settledSince(now int64) int64 {
	t := now
	for _, s := range l.sensors {
		if len(s.pending) > 0 && s.pending[len(s.pending)-1].t >= now-l.Retention {
			t = min(t, s.pending[0].t)
		}
	}
	return t
}
