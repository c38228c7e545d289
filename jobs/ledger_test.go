package jobs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// machine is two sockets of two CPUs.
func machine() []Socket {
	return []Socket{{ID: 0, CPUs: []int{0, 1}}, {ID: 1, CPUs: []int{2, 3}}}
}

// schedule is a random run of a node as an agent would tell it: at every reading all sensors, groups and machine counters
// are told, jobs begin and end in between, and a wattmeter reports late.
type schedule struct {
	r      *rand.Rand
	t      int64
	events []Event
	jobs   []*simJob
	busy   [2]uint64
	parent uint64
	energy [3]uint64
	next   int
}

type simJob struct {
	name  string
	cpus  []int
	raw   uint64
	steps []*simStep
}

type simStep struct {
	name string
	raw  uint64
	live bool
}

const simRange = 40_000_000

func newSchedule(seed uint64) *schedule {
	s := &schedule{r: rand.New(rand.NewPCG(seed, 1)), t: 1e9}
	s.add(Event{Type: EventMachine, Machine: machine()})
	s.add(Event{Type: EventHolders, T: s.t, Sensor: "gpu"})
	s.add(Event{Type: EventSensor, T: s.t, Sensor: "wattmeter", Socket: -1, IsPower: true, UW: 1e8})
	return s
}

func (s *schedule) add(e Event) { s.events = append(s.events, e) }

// step advances the time and tells everything.
func (s *schedule) step() {
	d := []int64{1e6, 5e6, 1e8, 1e9, 1e9, 1e9}[s.r.IntN(6)] + s.r.Int64N(1e5)
	s.t += d
	s.change()
	for i := range s.energy {
		s.energy[i] = (s.energy[i] + uint64(s.r.Int64N(d/1000*200+1))) % (simRange + 1)
		if s.r.IntN(200) == 0 {
			s.energy[i] = 0
		}
	}
	for i, name := range []string{"package:0", "package:1", "gpu"} {
		e := Event{Type: EventSensor, T: s.t, Sensor: name, Socket: i, UJ: s.energy[i], Limits: Limits{RangeUJ: simRange, MaxUW: 250e6}}
		if name == "gpu" {
			e.Socket, e.Limits = -1, Limits{}
		}
		s.add(e)
	}
	if s.r.IntN(2) == 0 { // stamped up to a second ago
		s.add(Event{Type: EventSensor, T: s.t - s.r.Int64N(1e9), Sensor: "wattmeter", Socket: -1, IsPower: true, UW: uint64(s.r.Int64N(500e6)), Limits: Limits{MaxGapNs: 4e9}})
	}
	used := uint64(0)
	for _, j := range s.jobs {
		u := uint64(s.r.Int64N(d*int64(len(j.cpus)) + 1))
		j.raw += u
		used += u
		s.add(Event{Type: EventUsage, T: s.t, Job: j.name, CPUNs: j.raw})
		for _, st := range j.steps {
			if st.live {
				st.raw += u / uint64(len(j.steps))
				s.add(Event{Type: EventUsage, T: s.t, Job: j.name, Step: st.name, CPUNs: st.raw})
			}
		}
	}
	for i := range s.busy {
		s.busy[i] += (used + uint64(s.r.Int64N(d))) / 2 / 10e6 * 10e6
		s.add(Event{Type: EventBusy, T: s.t, Socket: i, CPUNs: s.busy[i]})
	}
	s.parent += used + uint64(s.r.Int64N(1e6))
	s.add(Event{Type: EventParent, T: s.t, CPUNs: s.parent})
}

// change begins and ends jobs and steps, and moves devices and floors.
func (s *schedule) change() {
	if s.r.IntN(3) == 0 && len(s.jobs) < 8 {
		j := &simJob{name: fmt.Sprintf("slurm/%d", s.next), cpus: [][]int{{0}, {1, 2}, {3}, {0, 1, 2, 3}}[s.r.IntN(4)]}
		s.next++
		if s.r.IntN(5) == 0 {
			j.raw = s.r.Uint64N(1e12)
			s.add(Event{Type: EventFound, T: s.t, Job: j.name, CPUs: j.cpus, HasCPUs: true, CPUNs: j.raw, HasCPUNs: true})
		} else {
			s.add(Event{Type: EventBegin, T: s.t, Job: j.name, CPUs: j.cpus, HasCPUs: s.r.IntN(10) > 0})
		}
		s.jobs = append(s.jobs, j)
	}
	for _, j := range slices.Clone(s.jobs) {
		switch s.r.IntN(12) {
		case 0:
			st := &simStep{name: fmt.Sprint(len(j.steps)), live: true}
			j.steps = append(j.steps, st)
			s.add(Event{Type: EventBegin, T: s.t, Job: j.name, Step: st.name})
		case 1:
			for _, st := range j.steps {
				if st.live {
					st.live = false
					st.raw += 1e5
					s.add(Event{Type: EventEnd, T: s.t, Job: j.name, Step: st.name, CPUNs: st.raw, HasCPUNs: true})
				}
			}
		case 2: // removed and made again within the job
			s.add(Event{Type: EventEnd, T: s.t, Job: j.name, CPUNs: j.raw, HasCPUNs: true})
			j.raw = 0
			s.add(Event{Type: EventBegin, T: s.t, Job: j.name, CPUs: j.cpus, HasCPUs: true})
		case 3:
			for _, st := range j.steps {
				if st.live {
					s.add(Event{Type: EventEnd, T: s.t, Job: j.name, Step: st.name})
				}
			}
			s.add(Event{Type: EventEnd, T: s.t, Job: j.name, CPUNs: j.raw + 1e6, HasCPUNs: true})
			s.jobs = slices.DeleteFunc(s.jobs, func(x *simJob) bool { return x == j })
		case 4:
			s.add(Event{Type: EventHolders, T: s.t, Sensor: "gpu", Jobs: []string{j.name}[:s.r.IntN(2)]})
		case 5:
			s.add(Event{Type: EventFloor, T: s.t, Sensor: "package:0", UW: uint64(s.r.Int64N(60e6))})
		}
	}
}

// books collects records as a store would: the newest record of each life of a job counts.
type books map[string]map[string]uint64

func (b books) record(list []JobRecord) {
	for _, r := range list {
		for _, f := range r.Figures {
			k := fmt.Sprintf("%s@%d", r.ID, r.Begin)
			if b[k] == nil {
				b[k] = map[string]uint64{}
			}
			b[k][f.Sensor+" "+f.Step] = f.UJ
		}
	}
}

// sums adds the lives of each job.
func (b books) sums() map[string]uint64 {
	out := map[string]uint64{}
	for k, figures := range b {
		job, _, _ := strings.Cut(k, "@")
		for f, uj := range figures {
			if uj > 0 {
				out[job+" "+f] += uj
			}
		}
	}
	return out
}

func sumsOf(l *Ledger) map[string]uint64 {
	out := map[string]uint64{}
	for _, a := range l.Accounts() {
		for _, j := range a.Jobs {
			out[j.Job+" "+a.Sensor+" "] = j.UJ
			for _, s := range j.Steps {
				if s.UJ > 0 {
					out[j.Job+" "+a.Sensor+" "+s.Step] = s.UJ
				}
			}
		}
	}
	return out
}

func apply(t *testing.T, l *Ledger, e Event) {
	t.Helper()
	if err := l.Apply(&e); err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
}

// TestLiveEqualsReplay runs random schedules once as an agent does — settling after every reading, committing, forgetting
// what ended, restarting from the committed state — and once as a replay that settles at the end.
func TestLiveEqualsReplay(t *testing.T) {
	for seed := range uint64(400) {
		policy := Policy(seed % 4)
		live, replay := NewLedger(policy), NewLedger(policy)
		s := newSchedule(seed)
		stored := books{}
		told := 0
		tell := func() {
			live.Tap(func(e *Event) { apply(t, replay, *e) })
			for ; told < len(s.events); told++ {
				apply(t, live, s.events[told])
			}
			live.Tap(nil)
		}
		for range 60 {
			s.step()
			tell()
			live.Settle(s.t)
			if s.r.IntN(3) > 0 {
				live.Deliver(func(SensorIndex, *Group, string, uint64) {})
			}
			if d := live.Imbalance(); d != 0 {
				t.Fatalf("seed %d: imbalance %d at %d", seed, d, s.t)
			}
			switch s.r.IntN(6) {
			case 0:
				stored.record(live.Records(nil, s.t))
				live.Recorded()
			case 1:
				live.Records(nil, s.t) // the commit fails
				live.Unrecorded()
			case 2:
				state, err := live.Save()
				if err != nil {
					t.Fatal(err)
				}
				live = NewLedger(policy)
				if err := live.Load(state); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				s.add(Event{Type: EventRestart, T: s.t + 1})
			}
		}
		tell()
		live.SettleAll()
		replay.SettleAll()
		stored.record(live.Records(nil, s.t))
		if d := replay.Imbalance(); d != 0 {
			t.Fatalf("seed %d: imbalance %d", seed, d)
		}
		got, want := stored.sums(), sumsOf(replay)
		for k, uj := range want {
			if got[k] != uj {
				t.Fatalf("seed %d %s: %s has %d live, %d replayed", seed, policy, k, got[k], uj)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d figures live, %d replayed", seed, len(got), len(want))
		}
		for i, a := range replay.Accounts() {
			if b := live.Accounts()[i]; a.Totals != b.Totals || a.UnmeasuredNs != b.UnmeasuredNs {
				t.Fatalf("seed %d: %s\n live   %+v\n replay %+v", seed, a.Sensor, b.Totals, a.Totals)
			}
		}
	}
}

// script tells a ledger events that differ in a few fields.
func script(t *testing.T, p Policy, events ...Event) *Ledger {
	t.Helper()
	l := NewLedger(p)
	apply(t, l, Event{Type: EventMachine, Machine: []Socket{{ID: 0, CPUs: []int{0, 1}}}})
	for _, e := range events {
		apply(t, l, e)
	}
	l.SettleAll()
	if d := l.Imbalance(); d != 0 {
		t.Errorf("imbalance %d", d)
	}
	return l
}

func read(t int64, uj uint64) Event {
	return Event{Type: EventSensor, T: t, Sensor: "pkg", Socket: 0, UJ: uj}
}

func TestPolicies(t *testing.T) {
	const sec = int64(1e9)
	events := []Event{
		read(0, 0), {Type: EventBusy, T: 0, Socket: 0},
		{Type: EventBegin, T: 0, Job: "slurm/1", CPUs: []int{0}, HasCPUs: true},
		{Type: EventBegin, T: 0, Job: "slurm/1", Step: "0"},
		read(sec, 100e6),
		{Type: EventUsage, T: sec, Job: "slurm/1", CPUNs: 6e8}, {Type: EventUsage, T: sec, Job: "slurm/1", Step: "0", CPUNs: 4e8},
		{Type: EventBusy, T: sec, Socket: 0, CPUNs: 8e8},
	}
	for _, c := range []struct {
		policy              Policy
		job, step0, between uint64
		system, idle        uint64
		floor               uint64
	}{
		{PolicyUsage, 75e6, 50e6, 25e6, 25e6, 0, 0},
		{PolicyCapacity, 30e6, 20e6, 10e6, 10e6, 60e6, 0},
		{PolicyAllocated, 50e6, 33333333, 16666667, 0, 50e6, 0},
		// 20 J of floor by CPUs held, 80 J above it by CPU time.
		{PolicyHybrid, 70e6, 46666667, 23333333, 20e6, 10e6, 20e6},
	} {
		l := script(t, c.policy, append([]Event{{Type: EventFloor, Sensor: "pkg", UW: c.floor}}, events...)...)
		a := l.Accounts()[0]
		got := []uint64{a.Jobs[0].UJ, a.Jobs[0].Steps[0].UJ, a.Jobs[0].Steps[1].UJ, a.Totals.SystemUJ, a.Totals.IdleUJ}
		if want := []uint64{c.job, c.step0, c.between, c.system, c.idle}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.policy, got, want)
		}
	}
}

func TestGapsWrapsAndRestarts(t *testing.T) {
	const sec = int64(1e9)
	lim := Limits{RangeUJ: 1000, MaxUW: 2000}
	at := func(t int64, uj uint64) Event {
		e := read(t, uj)
		e.Limits = lim
		return e
	}
	for name, c := range map[string]struct {
		events     []Event
		measured   uint64
		unmeasured int64
		unobserved uint64
	}{
		"wrap":                 {[]Event{at(0, 900), at(sec/10, 49)}, 150, 0, 0},
		"reset":                {[]Event{at(0, 500), at(sec/10, 0)}, 0, sec / 10, 0},
		"wrap could be missed": {[]Event{at(0, 0), at(2*sec, 10)}, 0, 2 * sec, 0},
		"no range":             {[]Event{read(0, 500), read(sec, 0)}, 0, sec, 0},
		"restart, nobody":      {[]Event{read(0, 0), {Type: EventRestart, T: 5}, read(sec, 70)}, 70, 0, 70},
		"reboot":               {[]Event{read(0, 0), {Type: EventReboot, T: 5}, read(sec, 70), read(2*sec, 80)}, 10, sec, 0},
		"late and doubled":     {[]Event{read(0, 0), read(2*sec, 20), read(sec, 5), read(sec, 7)}, 20, 0, 0},
	} {
		a := script(t, PolicyUsage, c.events...).Accounts()[0]
		if a.MeasuredUJ != c.measured || a.UnmeasuredNs != c.unmeasured || a.Totals.UnobservedUJ != c.unobserved {
			t.Errorf("%s: measured %d unmeasured %d unobserved %d", name, a.MeasuredUJ, a.UnmeasuredNs, a.Totals.UnobservedUJ)
		}
	}
}

func TestPowerIsIntegratedWithoutDrift(t *testing.T) {
	l := NewLedger(PolicyUsage)
	apply(t, l, Event{Type: EventMachine, Machine: machine()})
	for i := range int64(3_001) { // 1 W for 1 ms at 333,333 ns steps: 0.333333 µJ each
		apply(t, l, Event{Type: EventSensor, T: i * 333_333, Sensor: "w", Socket: -1, IsPower: true, UW: 1e6})
	}
	l.SettleAll()
	if got := l.Accounts()[0].MeasuredUJ; got != 999_999 {
		t.Errorf("%d µJ, want 999999", got)
	}
}

func TestUncertaintyIsOfTheEdges(t *testing.T) {
	l := NewLedger(PolicyUsage)
	apply(t, l, Event{Type: EventMachine, Machine: []Socket{{ID: 0, CPUs: []int{0, 1}}}})
	s := l.Register("pkg", 0, false, 1e6)
	l.Read(s, 0, 0, Limits{})
	apply(t, l, Event{Type: EventBegin, T: 1e9, Job: "slurm/1"})
	l.Read(s, 1e9, 10e6, Limits{})
	for i := int64(2); i < 5; i++ { // 10 W, all of it the job's
		apply(t, l, Event{Type: EventUsage, T: i * 1e9, Job: "slurm/1", CPUNs: uint64(i) * 1e9})
		l.Read(s, i*1e9, uint64(i)*10e6, Limits{})
	}
	apply(t, l, Event{Type: EventEnd, T: 5e9, Job: "slurm/1", CPUNs: 4e9})
	l.Read(s, 6e9, 60e6, Limits{})
	l.SettleAll()
	f := l.Records(nil, 6e9)[0].Figures[0]
	// One update of 1 ms at 10 W at both ends.
	if f.UJ != 30e6 || f.UncertainUJ != 20_000 || f.CoveredNs != 4e9 {
		t.Errorf("%+v", f)
	}
}

func TestRefusals(t *testing.T) {
	l := NewLedger(PolicyUsage)
	refuse := func(e Event, want string) {
		t.Helper()
		if err := l.Apply(&e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", e, err, want)
		}
	}
	refuse(read(0, 0), "machine")
	refuse(Event{Type: EventMachine}, "no CPUs")
	refuse(Event{Type: EventMachine, Machine: []Socket{{CPUs: []int{0, 0}}}}, "twice")
	apply(t, l, Event{Type: EventMachine, Machine: machine()})
	apply(t, l, Event{Type: EventMachine, Machine: machine()})
	refuse(Event{Type: EventMachine, Machine: machine()[:1]}, "differ")
	refuse(Event{Type: EventSensor, Sensor: "x", Socket: 7}, "socket 7")
	refuse(Event{Type: EventBusy, Socket: 7}, "socket 7")
	apply(t, l, read(5, 0))
	refuse(Event{Type: EventSensor, T: 6, Sensor: "pkg", Socket: 0, IsPower: true}, "both")
	apply(t, l, Event{Type: EventBegin, T: 10, Job: "slurm/1"})
	refuse(Event{Type: EventUsage, T: 9, Job: "slurm/1"}, "older")
	refuse(Event{Type: EventUsage, T: 9}, "SCHEDULER/NAME")
	refuse(Event{Type: EventBegin, T: 9, Job: "system"}, "SCHEDULER/NAME")
	refuse(Event{Type: EventHolders, T: 9, Sensor: "gpu", Jobs: []string{"idle"}}, "SCHEDULER/NAME")
}

func TestSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + r.IntN(300)
		c := make([]claim, n)
		for i := range c {
			c[i] = claim{name: fmt.Sprint(r.IntN(1000)), weight: r.Uint64N(1 << (1 + r.UintN(63)))}
			if r.IntN(3) == 0 {
				c[i].weight = uint64(r.IntN(4))
			}
		}
		e := r.Uint64N(1 << (1 + r.UintN(63)))
		if !split(e, c) {
			continue
		}
		sum := uint64(0)
		floors := uint64(0)
		lastIn, firstOut := claim{rem: 1<<64 - 1}, claim{}
		for _, x := range c {
			sum += x.uj
			total, _ := weigh(c)
			q := mulDiv(e, x.weight, total)
			floors += q
			switch x.uj {
			case q:
				if firstOut.name == "" || before(&x, &firstOut) {
					firstOut = x
				}
			case q + 1:
				if before(&lastIn, &x) {
					lastIn = x
				}
			default:
				t.Fatalf("claim %d of %d got %d", x.weight, total, x.uj)
			}
		}
		if sum != e {
			t.Fatalf("parts %d of %d", sum, e)
		}
		if e > floors && firstOut.name != "" && before(&firstOut, &lastIn) {
			t.Fatalf("a smaller remainder was preferred: %+v before %+v", lastIn, firstOut)
		}
	}
}

func TestSplitOfOverflowingWeights(t *testing.T) {
	c := []claim{{name: "a", weight: 1<<64 - 1}, {name: "b", weight: 1<<64 - 1}, {name: "c", weight: 2}}
	if !split(10, c) || c[0].uj+c[1].uj+c[2].uj != 10 {
		t.Errorf("%+v", c)
	}
}

// TestTickAllocatesNothing measures the hot path: readings, usage and settlement.
func TestTickAllocatesNothing(t *testing.T) {
	l, tick := hotLedger(t, 100)
	tick()
	if n := testing.AllocsPerRun(200, tick); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
	if d := l.Imbalance(); d != 0 {
		t.Errorf("imbalance %d", d)
	}
}

func hotLedger(tb testing.TB, n int) (*Ledger, func()) {
	l := NewLedger(PolicyHybrid)
	e := Event{Type: EventMachine, Machine: machine()}
	if err := l.Apply(&e); err != nil {
		tb.Fatal(err)
	}
	var sensors []SensorIndex
	for i, name := range []string{"package:0", "package:1", "dram:0", "dram:1"} {
		sensors = append(sensors, l.Register(name, i%2, false, 1e6))
		e := Event{Type: EventFloor, Sensor: name, UW: 20e6}
		if err := l.Apply(&e); err != nil {
			tb.Fatal(err)
		}
	}
	var groups []*Group
	for i := range n {
		for _, step := range []string{"", "0"} {
			e := Event{Type: EventBegin, Job: fmt.Sprintf("slurm/%d", i), Step: step, CPUs: []int{i % 4}, HasCPUs: true}
			if err := l.Apply(&e); err != nil {
				tb.Fatal(err)
			}
			groups = append(groups, l.Group(e.Job, step))
		}
	}
	t, x := int64(0), uint64(0)
	return l, func() {
		t += 1e9
		x += 1e9
		for _, s := range sensors {
			l.Read(s, t, x, Limits{})
		}
		for i, g := range groups {
			l.Usage(g, t, x/uint64(2*n)+uint64(i)*x/1000)
		}
		l.Busy(t, 0, x)
		l.Busy(t, 1, x)
		l.Parent(t, x)
		l.Settle(t)
		l.Deliver(func(SensorIndex, *Group, string, uint64) {})
	}
}

// BenchmarkSave saves the state of a job with many steps that are done.
func BenchmarkSave(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, tick := hotLedger(b, 1)
			tick()
			j := l.jobs[0]
			j.done = map[string]*Group{}
			for i := range n {
				st := &Group{name: fmt.Sprint(i + 1), job: j, known: true}
				st.grow(len(l.sensors))
				for k := range st.figures {
					st.figures[k].uj = 123_456_789
				}
				j.done[st.name] = st
			}
			for b.Loop() {
				if _, err := l.Save(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTick(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, tick := hotLedger(b, n)
			tick()
			b.ReportAllocs()
			for b.Loop() {
				tick()
			}
		})
	}
}
