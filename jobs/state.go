package jobs

import (
	"encoding/json"
	"fmt"
)

// The types of this file are the restart state as JSON has it.

type savedLedger struct {
	Version  int            `json:"version"`
	Machine  []Socket       `json:"machine"`
	Parent   savedCounter   `json:"parent"`
	Busy     []savedCounter `json:"busy"`
	Sensors  []savedSensor  `json:"sensors"`
	Jobs     []savedGroup   `json:"jobs"`
	Restarts []int64        `json:"restarts,omitempty"`
	Reboots  []int64        `json:"reboots,omitempty"`
}

type savedCounter struct {
	Base    uint64      `json:"base,omitempty"`
	Raw     uint64      `json:"raw"`
	Samples []savedPair `json:"samples"`
	Flat    bool        `json:"flat,omitempty"`
}

// savedPair is a time and a value.
type savedPair struct {
	T int64  `json:"t"`
	V uint64 `json:"v"`
}

type savedSensor struct {
	Name        string        `json:"name"`
	Socket      int           `json:"socket"` // its number; negative: all
	Power       bool          `json:"power,omitempty"`
	Kind        bool          `json:"kind,omitempty"`
	StepNs      int64         `json:"step_ns,omitempty"`
	Pending     []savedRead   `json:"pending,omitempty"`
	Based       bool          `json:"based,omitempty"`
	Held        bool          `json:"held,omitempty"`
	Holders     []savedHolder `json:"holders,omitempty"`
	Floors      []savedPair   `json:"floors,omitempty"`
	Fraction    uint64        `json:"fraction,omitempty"`
	CarryVan    int64         `json:"carry_vanished,omitempty"`
	CarrySys    int64         `json:"carry_system,omitempty"`
	Totals      Totals        `json:"totals"`
	ForgottenUJ uint64        `json:"forgotten_uj,omitempty"`
	Unmeasured  int64         `json:"unmeasured_ns,omitempty"`
}

type savedRead struct {
	T      int64  `json:"t"`
	UJ     uint64 `json:"uj,omitempty"`
	UW     uint64 `json:"uw,omitempty"`
	Limits Limits `json:"limits"`
}

type savedHolder struct {
	T    int64    `json:"t"`
	Jobs []string `json:"jobs"`
}

type savedGroup struct {
	Name      string        `json:"name"`
	Known     bool          `json:"known,omitempty"`
	Usage     savedCounter  `json:"usage"`
	Zero      uint64        `json:"zero,omitempty"`
	Lives     []savedSpan   `json:"lives,omitempty"`
	CPUs      []savedCPUs   `json:"cpus,omitempty"`
	Final     Final         `json:"final,omitempty"`
	Figures   []savedFigure `json:"figures,omitempty"`
	Between   []savedFigure `json:"between,omitempty"`
	FirstLife int64         `json:"first_life"`
	SeenT     int64         `json:"seen_t"`
	Facts     *Facts        `json:"facts,omitempty"`
	SeenBegin bool          `json:"seen_begin,omitempty"`
	NLives    int           `json:"n_lives"`
	WallBegin int64         `json:"wall_begin,omitempty"`
	WallEnd   int64         `json:"wall_end,omitempty"`
	Existed   int64         `json:"existed_ns,omitempty"`
	Steps     []savedGroup  `json:"steps,omitempty"`
	Done      []savedDone   `json:"done,omitempty"`
}

// savedDone is a step that is done: a job may have tens of thousands, so that it is kept short. Numbers are, in order:
// whether its begin was seen, final reading, lives, first life, last line, last sample, wall-clock begin and end, ns of
// existence; Counts are its CPU time, the raw counter, where its last life began and the raw value that counts as 0; then
// sensor index, µJ, late and uncertain µJ of each figure.
type savedDone struct {
	Name    string   `json:"n"`
	Numbers [9]int64 `json:"i"`
	Counts  []uint64 `json:"u"`
}

type savedSpan struct {
	Begin int64 `json:"begin"`
	End   int64 `json:"end,omitempty"` // 0: lives
}

type savedCPUs struct {
	T    int64 `json:"t"`
	List []int `json:"list"`
}

type savedFigure struct {
	Sensor    int    `json:"sensor"`
	UJ        uint64 `json:"uj,omitempty"`
	Late      uint64 `json:"late,omitempty"`
	Uncertain uint64 `json:"uncertain,omitempty"`
	Covered   int64  `json:"covered,omitempty"`
	From      Totals `json:"from,omitzero"`
	To        Totals `json:"to,omitzero"`
	Seen      bool   `json:"seen,omitempty"`
	Closed    bool   `json:"closed,omitempty"`
	UW        uint64 `json:"uw,omitempty"`
	At        int64  `json:"at,omitempty"`
}

const stateVersion = 1

// Save returns all that the ledger needs to go on after a restart: to be committed together with the figures.
func (l *Ledger) Save() ([]byte, error) {
	x := savedLedger{Version: stateVersion, Machine: l.sockets, Parent: saveCounter(&l.parent), Restarts: l.restarts, Reboots: l.reboots}
	for i := range l.busy {
		x.Busy = append(x.Busy, saveCounter(&l.busy[i].counter))
	}
	for _, s := range l.sensors {
		x.Sensors = append(x.Sensors, l.saveSensor(s))
	}
	for _, j := range l.jobs {
		g := saveGroup(j)
		for _, st := range j.steps {
			g.Steps = append(g.Steps, saveGroup(st))
		}
		for _, st := range j.done {
			g.Done = append(g.Done, l.saveDone(st))
		}
		x.Jobs = append(x.Jobs, g)
	}
	return json.Marshal(&x)
}

func saveCounter(c *counter) savedCounter {
	x := savedCounter{Base: c.base, Raw: c.raw, Flat: c.flat}
	for _, p := range c.s {
		x.Samples = append(x.Samples, savedPair{p.t, p.v})
	}
	return x
}

func (x *savedCounter) load() counter {
	c := counter{timeline: timeline{flat: x.Flat}, base: x.Base, raw: x.Raw}
	for _, p := range x.Samples {
		c.s = append(c.s, sample{p.T, p.V})
	}
	return c
}

func (l *Ledger) saveSensor(s *sensor) savedSensor {
	x := savedSensor{
		Name: s.name, Socket: -1, Power: s.isPower, Kind: s.kind, StepNs: s.stepNs, Based: s.based, Held: s.held, Fraction: s.fraction,
		CarryVan: s.carryVan, CarrySys: s.carrySys, Totals: s.totals, ForgottenUJ: s.forgottenUJ, Unmeasured: s.unmeasured,
	}
	if s.socket >= 0 {
		x.Socket = l.sockets[s.socket].ID
	}
	for _, r := range s.pending {
		x.Pending = append(x.Pending, savedRead{r.t, r.uj, r.uw, r.Limits})
	}
	for _, f := range s.floors {
		x.Floors = append(x.Floors, savedPair{f.t, f.uw})
	}
	for _, h := range s.holders {
		y := savedHolder{T: h.t}
		for _, j := range h.jobs {
			y.Jobs = append(y.Jobs, j.name)
		}
		x.Holders = append(x.Holders, y)
	}
	return x
}

func saveGroup(g *Group) savedGroup {
	x := savedGroup{
		Name: g.name, Known: g.known, Zero: g.zero, Final: g.final, FirstLife: g.firstLife, SeenT: g.seenT, SeenBegin: g.seenBegin,
		NLives: g.nlives, WallBegin: g.wallBegin, WallEnd: g.wallEnd, Existed: g.existed,
		Usage:   saveCounter(&counter{timeline: g.u, base: g.base, raw: g.raw}),
		Figures: saveFigures(g.figures), Between: saveFigures(g.between),
	}
	if g.job == nil {
		x.Facts = &g.facts
	}
	for _, s := range g.lives {
		if s.end == open {
			s.end = 0
		}
		x.Lives = append(x.Lives, savedSpan{s.begin, s.end})
	}
	for _, c := range g.cpus {
		x.CPUs = append(x.CPUs, savedCPUs{c.t, c.list})
	}
	return x
}

func (l *Ledger) saveDone(g *Group) savedDone {
	last := g.u.last()
	seen := int64(0)
	if g.seenBegin {
		seen = 1
	}
	x := savedDone{Name: g.name, Counts: []uint64{last.v, g.raw, g.base, g.zero}, Numbers: [...]int64{
		seen, int64(g.final), int64(g.nlives), g.firstLife, g.seenT, last.t, g.wallBegin, g.wallEnd, g.existedUntil(open)}}
	for i, f := range g.figures {
		if f.uj > 0 {
			x.Counts = append(x.Counts, uint64(i), f.uj, f.late, f.uncertain+f.edge(l.sensors[i].stepNs))
		}
	}
	return x
}

func (l *Ledger) loadDone(job string, x *savedDone) (*Group, error) {
	if len(x.Counts) < 4 || len(x.Counts)%4 != 0 {
		return nil, fmt.Errorf("read the restart state: step %s of %s has %d counts", x.Name, job, len(x.Counts))
	}
	g, n := l.Group(job, x.Name), &x.Numbers
	g.known, g.dirty = true, false
	g.seenBegin, g.final, g.nlives, g.firstLife, g.seenT = n[0] != 0, Final(n[1]), int(n[2]), n[3], n[4]
	g.u = timeline{s: []sample{{n[5], x.Counts[0]}}, flat: true}
	g.raw, g.base, g.zero = x.Counts[1], x.Counts[2], x.Counts[3]
	g.wallBegin, g.wallEnd, g.existed = n[6], n[7], n[8]
	for c := x.Counts[4:]; len(c) > 0; c = c[4:] {
		if c[0] < uint64(len(g.figures)) {
			g.figures[c[0]] = figure{uj: c[1], late: c[2], uncertain: c[3], sent: c[1]}
		}
	}
	return g, nil
}

func saveFigures(list []figure) (out []savedFigure) {
	for i, f := range list {
		if f.seen || f.uj > 0 {
			out = append(out, savedFigure{i, f.uj, f.late, f.uncertain, f.covered, f.from, f.to, f.seen, f.closed, f.uw, f.at})
		}
	}
	return out
}

// Load restores what Save returned into an empty ledger. After a reboot the caller then applies a reboot event, after a
// restart of the agent a restart event. An error leaves the ledger unusable.
func (l *Ledger) Load(state []byte) error {
	var x savedLedger
	if err := json.Unmarshal(state, &x); err != nil {
		return fmt.Errorf("read the restart state: %w", err)
	}
	if x.Version != stateVersion {
		return fmt.Errorf("restart state has version %d, this program knows %d", x.Version, stateVersion)
	}
	if err := l.checkMachine(x.Machine); err != nil {
		return fmt.Errorf("read the restart state: %w", err)
	}
	l.setMachine(x.Machine)
	l.parent = x.Parent.load()
	for i := range x.Busy {
		if i < len(l.busy) {
			l.busy[i] = socketBusy{counter: x.Busy[i].load(), told: len(x.Busy[i].Samples) > 0}
		}
	}
	l.restarts, l.reboots = x.Restarts, x.Reboots
	for i := range x.Sensors {
		l.loadSensor(&x.Sensors[i])
	}
	for i := range x.Jobs {
		if err := l.loadJob(&x.Jobs[i]); err != nil {
			return err
		}
	}
	for i := range x.Sensors {
		s := l.sensors[i]
		for _, h := range x.Sensors[i].Holders {
			y := holding{t: h.T}
			for _, n := range h.Jobs {
				y.jobs = append(y.jobs, l.Group(n, ""))
			}
			s.holders = append(s.holders, y)
		}
	}
	return nil
}

func (l *Ledger) loadSensor(x *savedSensor) {
	s := l.sensorOf(x.Name, x.Socket)
	s.isPower, s.kind, s.stepNs, s.based, s.held, s.fraction = x.Power, x.Kind, x.StepNs, x.Based, x.Held, x.Fraction
	s.carryVan, s.carrySys, s.totals, s.sent = x.CarryVan, x.CarrySys, x.Totals, x.Totals
	s.forgottenUJ, s.unmeasured = x.ForgottenUJ, x.Unmeasured
	for _, r := range x.Pending {
		s.pending = append(s.pending, reading{r.T, r.UJ, r.UW, r.Limits})
	}
	for _, f := range x.Floors {
		s.floors = append(s.floors, floorAt{f.T, f.V})
	}
}

func (l *Ledger) loadJob(x *savedGroup) error {
	j := l.Group(x.Name, "")
	l.loadGroup(j, x)
	if len(x.Done) > 0 {
		j.done = make(map[string]*Group, len(x.Done))
	}
	for i := range x.Done {
		st, err := l.loadDone(x.Name, &x.Done[i])
		if err != nil {
			return err
		}
		j.done[st.name] = st
		j.steps = j.steps[:0]
	}
	for i := range x.Steps {
		l.loadGroup(l.Group(x.Name, x.Steps[i].Name), &x.Steps[i])
	}
	return nil
}

func (l *Ledger) loadGroup(g *Group, x *savedGroup) {
	u := x.Usage.load()
	g.known, g.u, g.base, g.raw, g.zero, g.final = x.Known, u.timeline, u.base, u.raw, x.Zero, x.Final
	g.firstLife, g.seenT, g.seenBegin, g.nlives = x.FirstLife, x.SeenT, x.SeenBegin, x.NLives
	g.wallBegin, g.wallEnd, g.existed = x.WallBegin, x.WallEnd, x.Existed
	if x.Facts != nil {
		g.facts = *x.Facts
	}
	for _, s := range x.Lives {
		if s.End == 0 {
			s.End = open
		}
		g.lives = append(g.lives, span{s.Begin, s.End})
	}
	for _, c := range x.CPUs {
		g.cpus = append(g.cpus, l.cpuset(c.T, c.List))
	}
	loadFigures(g.figures, x.Figures)
	loadFigures(g.between, x.Between)
}

func loadFigures(to []figure, list []savedFigure) {
	for _, f := range list {
		if f.Sensor >= 0 && f.Sensor < len(to) {
			to[f.Sensor] = figure{uj: f.UJ, late: f.Late, uncertain: f.Uncertain, covered: f.Covered, sent: f.UJ, from: f.From, to: f.To, seen: f.Seen, closed: f.Closed, uw: f.UW, at: f.At}
		}
	}
}
