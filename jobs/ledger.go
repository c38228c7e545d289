package jobs

import (
	"fmt"
	"slices"
	"strings"
)

// DefaultRetention is how long the timelines wait for a late sensor, in ns: an interval is settled then, whatever is missing.
const DefaultRetention = int64(10 * 60 * 1e9)

// Ledger splits the energy of every sensor among accounts. The live agent and the replay of a trace use the same one:
// events go in through its methods or through [Ledger.Apply], and Settle moves energy to accounts. It is not safe for
// concurrent use.
type Ledger struct {
	policy    Policy
	sockets   []Socket
	n         int // CPUs of the machine
	jobs      []*Group
	byName    map[string]*Group
	sensors   []*sensor
	bySensor  map[string]*sensor
	busy      []socketBusy
	parent    counter
	restarts  []int64
	reboots   []int64
	floors    map[string]uint64 // configured, in µW
	claims    []claim
	stepClaim []claim
	touched   []*Group
	closing   []*Group // in the last Records for the last time, unless they come back

	tap       func(*Event)
	told      Event  // what the tap hears of the hot methods
	late      uint64 // sensor readings refused: older than a settled one
	Retention int64  // see DefaultRetention; may be changed before the first event
}

type socketBusy struct {
	counter
	told bool
}

// NewLedger makes an empty ledger. Its first event must be the machine.
func NewLedger(p Policy) *Ledger {
	return &Ledger{
		policy: p, byName: map[string]*Group{}, bySensor: map[string]*sensor{}, parent: newCounter(),
		floors: map[string]uint64{}, Retention: DefaultRetention,
	}
}

// Policy is the policy that the ledger splits by.
func (l *Ledger) Policy() Policy { return l.policy }

// Tap lets f hear every event that takes effect, to record a trace. The event is reused: f must not keep it.
func (l *Ledger) Tap(f func(*Event)) { l.tap = f }

// FixFloor sets a sensor's idle floor in µW for all time; floor events no longer change it.
func (l *Ledger) FixFloor(sensor string, uw uint64) {
	l.floors[sensor] = uw
	if s := l.bySensor[sensor]; s != nil {
		s.fixedFloor, s.floorFixed = uw, true
	}
}

// Refused counts the sensor readings that came too late: older than one that was settled already.
func (l *Ledger) Refused() uint64 { return l.late }

// Apply tells the ledger one event, as a trace holds it. The error says what is wrong with the event; the ledger is then
// unchanged.
func (l *Ledger) Apply(e *Event) error {
	if e.Type != EventMachine && l.n == 0 {
		return fmt.Errorf("%s before the machine is known: the first line must be of type machine", e.Type)
	}
	if err := l.check(e); err != nil {
		return err
	}
	if l.tap != nil && e.Type != EventSensor {
		l.tap(e)
	}
	switch e.Type {
	case EventMachine:
		l.setMachine(e.Machine)
	case EventSensor:
		l.tell(l.sensorOf(e.Sensor, e.Socket), reading{t: e.T, uj: e.UJ, uw: e.UW, Limits: e.Limits}, e.IsPower)
	case EventHolders:
		l.hold(e)
	case EventBusy:
		l.count(e.T, l.socketIndex(e.Socket), e.CPUNs)
	case EventParent:
		l.parent.count(e.T, e.CPUNs)
	case EventFloor:
		s := l.sensorOf(e.Sensor, unknownSocket)
		s.floors = append(s.floors, floorAt{e.T, e.UW})
	case EventRestart:
		l.restarts = append(l.restarts, e.T)
	case EventReboot:
		l.reboot(e.T)
	default:
		l.group(e)
	}
	return nil
}

// group applies the events of jobs and steps.
func (l *Ledger) group(e *Event) {
	g := l.Group(e.Job, e.Step)
	g.seenT = e.T
	switch e.Type {
	case EventBegin:
		g.begin(e.T)
		g.seenBegin = g.seenBegin || g.nlives == 1
	case EventFound:
		g.found(e.T, e.CPUNs)
	case EventUsage:
		g.usage(e.T, e.CPUNs)
	case EventEnd:
		if e.HasCPUNs {
			g.usage(e.T, e.CPUNs)
		}
		g.end(e.T)
	}
	if e.HasCPUs && g.job == nil {
		g.cpus = append(g.cpus, l.cpuset(e.T, e.CPUs))
	}
}

// check refuses events that contradict what was told before.
func (l *Ledger) check(e *Event) error {
	older := func(t int64, what string) error {
		if e.T < t {
			return fmt.Errorf("%s at %d is older than its predecessor at %d", what, e.T, t)
		}
		return nil
	}
	switch e.Type {
	case EventMachine:
		return l.checkMachine(e.Machine)
	case EventSensor:
		return l.checkSensor(e)
	case EventHolders:
		for _, j := range e.Jobs {
			if _, err := ParseID(j); err != nil {
				return err
			}
		}
		if s := l.bySensor[e.Sensor]; s != nil && len(s.holders) > 0 {
			return older(s.holders[len(s.holders)-1].t, "holders of "+e.Sensor)
		}
	case EventFloor:
		if s := l.bySensor[e.Sensor]; s != nil && len(s.floors) > 0 {
			return older(s.floors[len(s.floors)-1].t, "floor of "+e.Sensor)
		}
	case EventBusy:
		i := l.socketIndex(e.Socket)
		if i < 0 {
			return fmt.Errorf("busy time of socket %d, which the machine does not have", e.Socket)
		}
		if b := &l.busy[i]; b.told {
			return older(b.last().t, "busy time")
		}
	case EventParent:
		if len(l.parent.s) > 0 {
			return older(l.parent.last().t, "parent")
		}
	case EventRestart:
		return olderThanLast(l.restarts, older, "restart")
	case EventReboot:
		return olderThanLast(l.reboots, older, "reboot")
	default:
		if _, err := ParseID(e.Job); err != nil {
			return err
		}
		if g := l.find(e.Job, e.Step); g != nil {
			return older(g.seenT, e.Type.String()+" of "+e.Job)
		}
	}
	return nil
}

func olderThanLast(list []int64, older func(int64, string) error, what string) error {
	if n := len(list); n > 0 {
		return older(list[n-1], what)
	}
	return nil
}

func (l *Ledger) checkMachine(sockets []Socket) error {
	seen := map[int]bool{}
	n := 0
	for _, s := range sockets {
		for _, c := range s.CPUs {
			if seen[c] {
				return fmt.Errorf("CPU %d is listed twice", c)
			}
			seen[c] = true
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("the machine has no CPUs")
	}
	if l.n > 0 && !l.SameMachine(sockets) {
		return fmt.Errorf("the machine's CPUs differ from what was told before: begin a new trace when CPUs come or go")
	}
	return nil
}

func (l *Ledger) setMachine(sockets []Socket) {
	if l.n > 0 {
		return
	}
	l.sockets = slices.Clone(sockets)
	for _, s := range sockets {
		l.n += len(s.CPUs)
	}
	l.busy = make([]socketBusy, len(sockets))
	for i := range l.busy {
		l.busy[i].counter = newCounter()
	}
}

func (l *Ledger) socketIndex(id int) int {
	return slices.IndexFunc(l.sockets, func(s Socket) bool { return s.ID == id })
}

func (l *Ledger) count(t int64, socket int, ns uint64) {
	l.busy[socket].told = true
	l.busy[socket].count(t, ns)
}

// find returns a job or step that is known, or nil.
func (l *Ledger) find(job, step string) *Group {
	g := l.byName[job]
	if g == nil || step == "" {
		return g
	}
	for _, s := range g.steps {
		if s.name == step {
			return s
		}
	}
	if s := g.done[step]; s != nil {
		delete(g.done, step)
		g.steps = append(g.steps, s)
		return s
	}
	return nil
}

// Group returns a job (step empty) or step by the name of its account, making it if it is new.
func (l *Ledger) Group(job, step string) *Group {
	if g := l.find(job, step); g != nil {
		return g
	}
	if step != "" {
		j := l.Group(job, "")
		g := &Group{ID: j.ID, Step: step, name: step, job: j, dirty: true}
		g.grow(len(l.sensors))
		j.steps = append(j.steps, g)
		return g
	}
	id, _ := ParseID(job) // checked
	g := &Group{ID: id, name: job, dirty: true, facts: Facts{UID: -1}}
	g.grow(len(l.sensors))
	l.jobs = append(l.jobs, g)
	l.byName[job] = g
	return g
}

// Forget drops an ended job with its steps; its figures must have been kept elsewhere. A job that holds a device stays,
// and false is returned.
func (l *Ledger) Forget(g *Group) bool {
	for _, s := range l.sensors {
		if n := len(s.holders); n > 0 && slices.Contains(s.holders[n-1].jobs, g) {
			return false
		}
	}
	for i, s := range l.sensors {
		s.forgottenUJ += g.figures[i].uj
	}
	delete(l.byName, g.name)
	l.jobs = slices.DeleteFunc(l.jobs, func(x *Group) bool { return x == g })
	return true
}

func (l *Ledger) cpuset(t int64, cpus []int) cpuset {
	list := slices.Clone(cpus)
	slices.Sort(list)
	list = slices.Compact(list)
	c := cpuset{t: t, list: list, total: len(list), socket: make([]int, len(l.sockets))}
	for i, s := range l.sockets {
		for _, x := range s.CPUs {
			if _, ok := slices.BinarySearch(list, x); ok {
				c.socket[i]++
				c.machine++
			}
		}
	}
	return c
}

// Reconfigure tells that the machine has other CPUs than before: every group ends, and the interval is a gap, as after a
// reboot. The sums go on. A trace cannot tell this, and must begin anew.
func (l *Ledger) Reconfigure(t int64, sockets []Socket) error {
	ids := make([]int, len(l.sensors))
	for i, s := range l.sensors {
		if ids[i] = -1; s.socket >= 0 {
			ids[i] = l.sockets[s.socket].ID
		}
	}
	old := l.n
	l.n = 0
	if err := l.checkMachine(sockets); err != nil {
		l.n = old
		return err
	}
	l.reboot(t)
	l.setMachine(sockets)
	for i, s := range l.sensors {
		s.socket, s.n = l.socketIndex(ids[i]), l.n
		if s.socket >= 0 {
			s.n = len(l.sockets[s.socket].CPUs)
		}
	}
	for _, j := range l.jobs {
		j.cpus = nil
	}
	return nil
}

// SameMachine tells whether the ledger's machine has these CPUs.
func (l *Ledger) SameMachine(sockets []Socket) bool {
	return slices.EqualFunc(l.sockets, sockets, func(a, b Socket) bool { return a.ID == b.ID && slices.Equal(a.CPUs, b.CPUs) })
}

// reboot ends every group at its last sample: after it all counters are new.
func (l *Ledger) reboot(t int64) {
	l.reboots = append(l.reboots, t)
	end := func(g *Group) {
		if g.Live() {
			g.end(max(g.lives[len(g.lives)-1].begin, g.u.last().t))
		}
	}
	for _, j := range l.jobs {
		end(j)
		for _, s := range j.steps {
			end(s)
		}
	}
}

func (l *Ledger) hold(e *Event) {
	s := l.sensorOf(e.Sensor, unknownSocket)
	h := holding{t: e.T}
	names := slices.Clone(e.Jobs)
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		j := l.Group(n, "")
		if j.firstLife == 0 { // a job that has no group here yet, or never will, lives from when it holds something
			j.firstLife = e.T
		}
		h.jobs = append(h.jobs, j)
	}
	s.held = true
	s.holders = append(s.holders, h)
}

// Imbalance is what was measured less the sum of all accounts, over all sensors, in µJ, counting only jobs that were not
// forgotten. It is 0 unless the ledger is wrong; a job's steps and between are checked against the job as well.
func (l *Ledger) Imbalance() int64 {
	sum := int64(0)
	for i, s := range l.sensors {
		d := int64(s.totals.MeasuredUJ - s.totals.SystemUJ - s.totals.IdleUJ - s.totals.VanishedUJ - s.totals.UnobservedUJ - s.forgottenUJ)
		for _, j := range l.jobs {
			d -= int64(j.figures[i].uj)
			parts := j.between[i].uj
			for st := range j.allSteps {
				parts += st.figures[i].uj
			}
			sum += abs(int64(j.figures[i].uj - parts))
		}
		sum += abs(d)
	}
	return sum
}

func abs(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

// sortJobs returns the jobs in the order of their names, for output.
func (l *Ledger) sortJobs() []*Group {
	out := slices.Clone(l.jobs)
	slices.SortFunc(out, func(a, b *Group) int { return strings.Compare(a.name, b.name) })
	return out
}
