package cgroups

import (
	"encoding/binary"
	"errors"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// stateName is the name under which the books keep the tracker's state.
const stateName = "cgroups"

// stateFormat is the first byte of a state. One of another format is not read: the jobs that it knew are then found anew.
const stateFormat = 2

// state is what lets the tracker go on after a restart in the same boot: the raw counters at the last Refresh, by which it
// computes what each group, living or gone, has used meanwhile. It is given to the books at each Refresh and committed
// with their totals. Its first part, the names, changes only when groups come or go; the second is all numbers.
type state struct {
	stale bool   // the names are to be written anew
	buf   []byte // names and numbers
	names int    // length of the names

	// Until the first scan is complete.
	have   bool // there was a state
	finish bool // the first scan is complete
	scopes []string
	nodes  []savedNode
	byPath map[nodeKey]*savedNode
	units  map[unitKey]savedUnit
}

// savedUnit is a job or step as it was at the last commit.
type savedUnit struct {
	sum     uint64
	begun   bool // the books were told
	created bool // it was seen being created
}

// Flags of a unit in the state.
const (
	flagBegun = 1 << iota
	flagCreated
)

// savedNode is a group as it was at the last commit.
type savedNode struct {
	version                       Version
	role                          Role
	scope                         int
	dropped                       bool // its scope is not watched now
	path                          string
	unit                          unitKey
	up                            int // index of its parent, or -1
	ino                           uint64
	total, kids, own, others, raw uint64
	node                          *node
}

// keepState gives the present state to the books.
func (t *Tracker) keepState() {
	s := &t.state
	if s.stale || s.buf == nil {
		s.buf = t.appendNames(s.buf[:0])
		s.names, s.stale = len(s.buf), false
	}
	b := s.buf[:s.names]
	// Programs that the agent has started are not followed by the next run: for that, they have ended.
	ended := t.parents.ended
	for _, f := range t.own {
		ended += f.cpu
	}
	b = append64(b, ended, t.parents.told)
	for _, u := range t.units {
		b = append64(b, u.sum)
	}
	for _, n := range t.nodes {
		if kept(n) {
			b = append64(b, n.total, n.kids, n.own, n.others, n.raw)
		}
	}
	s.buf = b
	t.books.TrackerState(stateName, b)
}

// kept tells whether a group is part of the state. Parts and Plain groups are no accounts: their points begin anew.
func kept(n *node) bool { return n.Role != Part && n.Role != Plain }

func (t *Tracker) appendNames(b []byte) []byte {
	b = append(b, stateFormat)
	b = binary.AppendUvarint(b, uint64(len(t.scopes)))
	for _, s := range t.scopes {
		b = appendText(b, s.name)
	}
	b = binary.AppendUvarint(b, uint64(len(t.units)))
	for i, u := range t.units {
		u.index = i
		b = append(appendText(b, u.id.Scheduler, u.id.Name, u.step), u.flags())
	}
	count := 0
	for _, n := range t.nodes {
		if kept(n) {
			n.index = count
			count++
		}
	}
	b = binary.AppendUvarint(b, uint64(count))
	for _, n := range t.nodes {
		if !kept(n) {
			continue
		}
		b = append(b, byte(n.version), byte(n.Role))
		b = binary.AppendUvarint(b, uint64(t.scopeOf(n)))
		b = appendText(b, n.path)
		unit, up := 0, 0
		if n.unit != nil {
			unit = n.unit.index + 1
		}
		if n.up != nil && !n.up.gone && kept(n.up) {
			up = n.up.index + 1
		}
		b = binary.AppendUvarint(b, uint64(unit))
		b = binary.AppendUvarint(b, uint64(up))
		b = binary.AppendUvarint(b, n.ino)
	}
	return b
}

func append64(b []byte, list ...uint64) []byte {
	for _, v := range list {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func appendText(b []byte, list ...string) []byte {
	for _, s := range list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// loadState reads what the books kept.
func (t *Tracker) loadState() {
	b := t.books.LastTrackerState(stateName)
	if b == nil {
		return
	}
	s := &t.state
	p, err := decodeState(b, s)
	if err != nil {
		t.log.Error("what was known of the jobs' groups before the restart cannot be read: running jobs are found anew", "err", err)
		*s = state{}
		return
	}
	if n := s.narrow(t, &p); n > 0 {
		t.log.Warn("jobs that the run before has followed are not followed by this one, with its plugins and control groups: they end for the books", "jobs", n)
	}
	t.parents.ended, t.parents.told = p.ended, p.told
	s.have = true
}

var errState = errors.New("state of the control groups is damaged or of another format")

// decodeState fills s and returns the parents' sums.
func decodeState(b []byte, s *state) (p parents, err error) {
	d := decoder{b: b}
	if d.byte() != stateFormat {
		return p, errState
	}
	s.scopes = make([]string, d.count(1))
	for i := range s.scopes {
		s.scopes[i] = d.text()
	}
	keys, flags := make([]unitKey, d.count(4)), []byte(nil)
	for i := range keys {
		keys[i] = unitKey{jobs.ID{Scheduler: d.text(), Name: d.text()}, d.text()}
		flags = append(flags, d.byte())
	}
	s.nodes = make([]savedNode, d.count(7))
	for i := range s.nodes {
		n := &s.nodes[i]
		n.version, n.role = Version(d.byte()), Role(d.byte())
		scope := d.uint()
		n.path = d.text()
		unit, up := d.uint(), d.uint()
		n.ino = d.uint()
		if scope >= uint64(len(s.scopes)) || unit > uint64(len(keys)) || up > uint64(i) || n.version != V1 && n.version != V2 || n.role > Part || (n.role == Job || n.role == Step) != (unit > 0) {
			return p, errState
		}
		if unit > 0 {
			n.unit = keys[unit-1]
		}
		n.scope, n.up = int(scope), int(up)-1
	}
	p.ended, p.told = d.uint64(), d.uint64()
	s.units = map[unitKey]savedUnit{}
	for i, k := range keys {
		s.units[k] = savedUnit{sum: d.uint64(), begun: flags[i]&flagBegun != 0, created: flags[i]&flagCreated != 0}
	}
	s.byPath = map[nodeKey]*savedNode{}
	for i := range s.nodes {
		n := &s.nodes[i]
		n.total, n.kids, n.own, n.others, n.raw = d.uint64(), d.uint64(), d.uint64(), d.uint64(), d.uint64()
		s.byPath[nodeKey{n.version, n.path}] = n
	}
	if d.bad || len(d.b) != 0 {
		return p, errState
	}
	return p, nil
}

// decoder cuts values off a state. After the first that is not there, bad is set and all are 0.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many elements follow, each at least least bytes long.
func (d *decoder) count(least int) int {
	v := d.uint()
	if v > uint64(len(d.b)/least) {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// restore lets a group that the first scan has found go on where the state has it. One that the state does not know was
// made while the agent was down, so that all that it has counted is since then; but only if the run that kept the state
// would have seen it. Otherwise it was found.
func (t *Tracker) restore(n *node) {
	n.found = !n.created
	if !t.state.have || n.created || !kept(n) || !t.state.watched(t, n) {
		return
	}
	n.found = false
	s := t.state.byPath[nodeKey{n.version, n.path}]
	if s == nil || s.role != n.Role {
		n.created, n.sure = true, true
		return
	}
	s.node, n.saved = n, s
	n.total, n.kids, n.own, n.others, n.raw, n.sure = s.total, s.kids, s.own, s.others, s.raw, true
}

// rejoin decides, when the CPU counter of a restored group is known, whether it is the one that the state knew. If not, that
// one has ended unread while the agent was down.
func (t *Tracker) rejoin(n *node) {
	s := n.saved
	if s == nil {
		return
	}
	n.saved = nil
	if s.ino != n.ino {
		n.raw, n.created = 0, true
		if s.ino != 0 {
			n.due++
			t.await(n)
		}
	}
}

// afterScan ends what the state knew and the first scan has not found.
func (t *Tracker) afterScan() {
	s := &t.state
	s.finish = true
	for _, n := range t.nodes {
		if n.saved != nil && n.saved.ino != 0 {
			n.due++
			t.await(n)
		}
		if u := n.unit; n.saved != nil && u != nil && u.created && !u.known {
			n.created = true // the books have not heard of it, and its counter is still to come
		}
		n.saved = nil
	}
	for i := range s.nodes {
		o := &s.nodes[i]
		if o.node != nil || o.dropped {
			continue
		}
		n := &node{Match: Match{Role: o.role, ID: o.unit.id, Step: o.unit.step, UID: -1}, path: o.path, version: o.version,
			total: o.total, kids: o.kids, own: o.own, others: o.others, sure: true}
		if o.up >= 0 && s.nodes[o.up].node != nil {
			n.up = s.nodes[o.up].node
			n.depth, n.up.hadKids = n.up.depth+1, true
		}
		o.node = n
		t.parents.arrive(n)
		t.join(n)
		if o.ino != 0 {
			n.due++
			t.await(n)
		}
		t.depart(n)
	}
}

// resume returns the books' group of a job or step that was known before a restart. They are asked also about one that was
// not begun when the state was kept: what they hold open is not begun twice.
func (t *Tracker) resume(u *unit) (*jobs.Group, bool) {
	if !u.saved {
		return nil, false
	}
	return t.books.Resume(u.id, u.step)
}

// endForgotten ends what the books hold open and the tracker does not know: it was begun after the state was last kept, or it
// is not followed any more (see narrow).
func (t *Tracker) endForgotten(now agent.Instant) {
	for _, g := range t.books.Open() {
		if u := t.byName[unitKey{g.ID, g.Step}]; u == nil || u.group != g {
			t.books.End(now, g, 0, jobs.FinalNone)
		}
	}
	stale := t.state.stale
	t.state = state{stale: stale}
}
