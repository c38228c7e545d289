package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// processStat is what is read of /proc/<pid>/stat. Times are in ticks, start counts from boot. user contains guest.
type processStat struct {
	ppid                       int
	user, system, guest, start uint64
}

// The fields of /proc/<pid>/stat that are read, counted from the state, which comes first behind the name.
const (
	fieldPPid   = 1
	fieldUser   = 11
	fieldSystem = 12
	fieldStart  = 19
	fieldGuest  = 40
)

// parseProcessStat parses /proc/<pid>/stat. The name in it, in parentheses, can hold anything, parentheses too.
func parseProcessStat(data []byte) (s processStat, ok bool) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return s, false
	}
	line, _ := sysfile.CutLine(data[end+1:])
	for i := 0; ; i++ {
		var field []byte
		if field, line = sysfile.CutField(line); len(field) == 0 {
			// Kernels before 2.6.24 tell no guest time.
			return s, i > fieldStart
		}
		v, isNumber := sysfile.ParseUint(field)
		switch i {
		case fieldPPid:
			s.ppid = int(v)
		case fieldUser:
			s.user = v
		case fieldSystem:
			s.system = v
		case fieldStart:
			s.start = v
		case fieldGuest:
			s.guest = v
			return s, isNumber
		default:
			continue
		}
		if !isNumber {
			return s, false
		}
	}
}

// group measures the processes that match its filters. It is used by the watcher's lane only.
type group struct {
	watcher *watcher
	config  GroupConfig
	exe     *regexp.Regexp // nil: any
	slow    bool
	denied  bool // it was said that permission is missing
	list    []*process
}

// process is one process that is measured.
type process struct {
	pid      int
	start    uint64
	consumer agent.Consumer
	// The paths of its files end with a NUL byte, for [sysfile.ReadPath].
	stat, statm, rollup  []byte
	user, system, guests sysfile.Counter
}

func newProcess(root string, pid int, s processStat, fromStart bool) *process {
	path := func(name string) []byte { return []byte(filepath.Join(root, strconv.Itoa(pid), name) + "\x00") }
	p := &process{pid: pid, start: s.start, consumer: agent.Process(pid), stat: path("stat"), statm: path("statm"), rollup: path("smaps_rollup")}
	if fromStart {
		// The watcher has seen it begin: its whole life counts.
		p.user.Delta(0)
		p.system.Delta(0)
		p.guests.Delta(0)
	} else {
		p.user.Delta(s.user)
		p.system.Delta(s.system)
		p.guests.Delta(s.guest)
	}
	return p
}

// matches tells whether a process belongs to the group. The executable is only looked up when it is asked for.
func (g *group) matches(root string, pid int, s processStat) bool {
	if g.config.Pid != nil && *g.config.Pid != pid || g.config.PPid != nil && *g.config.PPid != s.ppid {
		return false
	}
	if g.exe == nil {
		return true
	}
	// Kernel threads have no executable, and others' may not be told: their path is empty.
	path, err := os.Readlink(filepath.Join(root, strconv.Itoa(pid), "exe"))
	if err != nil {
		path = ""
	}
	return g.exe.MatchString(path)
}

// Poll implements [agent.Source]. A process that has ended leaves the group; one that cannot be read is named by the error.
func (g *group) Poll(b *agent.Batch, now agent.Instant) error {
	var first error
	kept := g.list[:0]
	for _, p := range g.list {
		err := g.measure(b, now.Wall, p)
		if errors.Is(err, agent.ErrGone) {
			g.watcher.forget(p)
			continue
		}
		if err != nil && first == nil {
			first = fmt.Errorf("process %d: %w", p.pid, err)
		}
		kept = append(kept, p)
	}
	clear(g.list[len(kept):])
	g.list = kept
	return first
}

// measure makes the points of one process.
func (g *group) measure(b *agent.Batch, wall int64, p *process) error {
	w := g.watcher
	data, err := sysfile.ReadPath(p.stat, w.buf)
	if err != nil {
		return err
	}
	s, ok := parseProcessStat(data)
	if !ok {
		return sysfile.ErrSyntax
	}
	if s.start != p.start {
		return agent.ErrGone // another process has its number now; the watcher will find it
	}
	for i, c := range [...]*sysfile.Counter{&p.user, &p.system, &p.guests} {
		if d, ok := c.Delta([...]uint64{s.user, s.system, s.guest}[i]); ok {
			b.Add(w.cpuTime, wall, agent.U64(d*sysfile.TickNs), agent.LocalMachine(), p.consumer, w.cpuKinds[i])
		}
	}
	if data, err = sysfile.ReadPath(p.statm, w.buf); err != nil {
		return err
	}
	data, _ = sysfile.CutLine(data)
	for _, i := range [...]int{memVirtual, memResident, memShared} {
		var pages uint64
		if pages, data, ok = sysfile.CutUint(data); !ok {
			return sysfile.ErrSyntax
		}
		b.Add(w.memory, wall, agent.U64(pages*w.pageSize), agent.LocalMachine(), p.consumer, w.memKinds[i])
	}
	if !g.slow {
		return nil
	}
	return g.proportional(b, wall, p)
}

// proportional makes the point of the proportional set size. Kernel threads and zombies have none, and others' need
// permission.
func (g *group) proportional(b *agent.Batch, wall int64, p *process) error {
	w := g.watcher
	data, err := sysfile.ReadPath(p.rollup, w.buf)
	switch {
	case errors.Is(err, agent.ErrGone):
		return nil
	case errors.Is(err, os.ErrPermission):
		if !g.denied {
			w.log.Warn("the proportional memory of some processes may not be read: it takes CAP_SYS_PTRACE", "pid", p.pid)
		}
		g.denied = true
		return nil
	case err != nil:
		return err
	}
	if kB, ok := sysfile.KeyUint(data, "Pss"); ok {
		b.Add(w.memory, wall, agent.U64(kB*1024), agent.LocalMachine(), p.consumer, w.memKinds[memProportional])
	}
	return nil
}
