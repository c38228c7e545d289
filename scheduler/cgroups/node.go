package cgroups

import (
	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// node is one life of a group: from when its first directory appeared until its last one was removed. On v1 the same
// group has a directory in several hierarchies, which come and go some milliseconds apart; the one with the CPU counter
// may even come and go several times while another stands (a sub-life). The watcher makes a node and hands it to the
// main lane by the queue; after that, the first block of fields is constant and the others have one owner each.
type node struct {
	Match
	path    string // below the mount point
	version Version
	up      *node // the group around it, nil for a Parent or Plain outside any
	depth   int
	created bool  // seen being created: counters started at 0; otherwise it was found by the first scan
	at      int64 // CLOCK_BOOTTIME when it was noticed

	// Of the watcher.
	dirs int // how many directories it has now

	// Of the describer.
	described bool // all facts are known

	// Of the main lane.
	file    *sysfile.File // the CPU counter, nil when there is none (yet, or any more)
	ino     uint64        // of the directory that file belongs to
	state   usageState
	raw     uint64 // last reading of the present sub-life, ns
	total   uint64 // CPU time of all sub-lives, ns
	user    uint64 // v2: user and system part of the last reading, ns
	system  uint64
	kids    uint64 // sum of the children's totals
	own     uint64 // what it used beside its children, as far as that is certain
	fresh   uint64 // first readings of children seen being created, since own was last learned
	low     int64  // the least of rest in the present window
	others  uint64 // of a root of the parents' sum: sum of its Other children's totals, and what it had when it was found
	found   bool   // by the first scan, and not known to the state; of a root, until that is out of the parents' sum
	sure    bool   // own is known
	due     int    // sub-lives that ended unread and await their share of the parent's residual
	weight  int    // share of its parent's residual, while that is divided
	hadKids bool   // groups were seen in it
	final   jobs.Final
	empty   bool // its last process has ended and the counter was read after that
	gone    bool // all its directories are removed
	failed  bool // its counter could not be read for another reason; said once
	unit    *unit
	extra   *files
	saved   *savedNode // until its CPU counter is found after a restart
	index   int        // in the state
}

// usageState tells whether a group has a CPU counter.
type usageState uint8

const (
	usageNone   usageState = iota
	usageOpen              // the counter is open
	usageUnread            // it is there, or was, but could not be opened
)

// files are what points need beside the CPU counter. They are nil where missing.
type files struct {
	stat      *sysfile.File // v1 cpuacct.stat
	memory    *sysfile.File // bytes in use
	memoryAll *sysfile.File // memory.stat
}

func (f *files) close() {
	for _, x := range []**sysfile.File{&f.stat, &f.memory, &f.memoryAll} {
		if *x != nil {
			_ = (*x).Close()
			*x = nil
		}
	}
}

// take puts the files that o has into f, and closes those that they replace.
func (f *files) take(o files) {
	for _, x := range []struct{ to, from **sysfile.File }{{&f.stat, &o.stat}, {&f.memory, &o.memory}, {&f.memoryAll, &o.memoryAll}} {
		if *x.from == nil {
			continue
		}
		if *x.to != nil {
			_ = (*x.to).Close()
		}
		*x.to = *x.from
	}
}

// read reads the counter in ns. On v2 it has whole microseconds.
func (n *node) read(buf []byte) (uint64, error) {
	if n.version == V1 {
		return n.file.Uint(buf)
	}
	b, err := n.file.Read(buf)
	if err != nil {
		return 0, err
	}
	s, ok := parseCPUStat(b)
	if !ok {
		return 0, errCPUStat
	}
	n.user, n.system = s.user, s.system
	return s.usage, nil
}

// advance takes a reading. A smaller one than before means that the counter was set back to 0.
func (n *node) advance(v uint64) {
	d := v - n.raw
	if v < n.raw {
		d = v
	}
	if n.raw == 0 && n.up != nil {
		n.up.fresh += d
	}
	n.raw = v
	n.add(d)
}

// add counts CPU time to the group, and in its parent as known to be the children's.
func (n *node) add(d uint64) {
	n.total += d
	if n.up != nil {
		n.up.kids += d
		if n.Role == Other {
			n.up.others += d
		}
	}
	if n.unit != nil {
		n.unit.sum += d
	}
}

// rest is what the group used and none of its children is known to have used. It may be negative by what was used between
// the readings of the group and of its children.
func (n *node) rest() int64 { return int64(n.total) - int64(n.kids) - int64(n.own) }

// settleOwn takes all that no child is known to have used for the group's own: what it used before it was found.
func (n *node) settleOwn() {
	n.own += uint64(max(0, n.rest()))
	n.low, n.fresh, n.sure = 0, 0, true
}

// learnOwn is called after each reading that misses no child that is known. What no child is known to have used is taken for
// the group's own only when it has been so for a whole window: until then it may be that of a child that is still to be
// noticed. A child that is noticed later than that takes back what was its own.
func (n *node) learnOwn(windowEnds bool) {
	r := n.rest()
	n.low = min(n.low, r)
	if r < 0 && n.fresh > 0 {
		n.own -= min(n.own, n.fresh, uint64(-r))
	}
	n.fresh = 0
	if windowEnds {
		n.own += uint64(max(0, n.low))
		n.low = n.rest()
	}
}

// cpuStat is the beginning of a v2 cpu.stat, in ns.
type cpuStat struct{ usage, user, system uint64 }

// parseCPUStat parses the first three lines of cpu.stat, which are the same in all kernels and come first in all.
func parseCPUStat(b []byte) (s cpuStat, ok bool) {
	for _, f := range []struct {
		key string
		v   *uint64
	}{{"usage_usec", &s.usage}, {"user_usec", &s.user}, {"system_usec", &s.system}} {
		var line, key []byte
		line, b = sysfile.CutLine(b)
		key, line = sysfile.CutField(line)
		v, _, isNum := sysfile.CutUint(line)
		if string(key) != f.key || !isNum || v > maxUsec {
			return cpuStat{}, false
		}
		*f.v = v * 1000
	}
	return s, true
}

// maxUsec is what fits into 64 bits when counted in nanoseconds: 584 years.
const maxUsec = ^uint64(0) / 1000

type readError string

func (e readError) Error() string { return string(e) }

const errCPUStat = readError("cpu.stat does not begin with usage_usec, user_usec and system_usec")

// end closes the present sub-life of the counter. What it used since its last reading is the residual's to find, unless it
// was read after its last process had ended.
func (n *node) end() {
	if n.file != nil {
		_ = n.file.Close()
		n.file = nil
	}
	n.state, n.raw, n.ino = usageNone, 0, 0
	if n.empty {
		n.final, n.empty = jobs.FinalGroup, false
	} else {
		n.due++
	}
}

// event is what the watcher and other goroutines tell the main lane.
type event struct {
	kind  eventKind
	n     *node
	file  *sysfile.File // newUsage
	ino   uint64        // newUsage
	value uint64        // emptied: the counter, ns
	files files         // newFiles
	cpus  []int         // newCPUs
	facts jobs.Facts    // newFacts
	own   *Followed     // follow, unfollow
	err   error
}

type eventKind uint8

const (
	newNode   eventKind = iota
	newUsage            // the CPU counter appeared; without file: it could not be opened any more
	newFiles            // other files for points
	newCPUs             // the job's CPUs
	newFacts            // what is known of the job
	emptied             // the last process has ended
	populated           // there are processes again
	missed              // a life of the CPU counter came and went before it was seen
	lostUsage           // the CPU counter's directory was removed
	lostNode            // the last directory was removed
	scanned             // the first scan is complete
	follow              // a job beside the groups begins
	unfollow            // and ends
)

// bootNow is the clock by which nodes are stamped when they are noticed.
func bootNow() int64 { return agent.BootNs() }
