package cgroups

import (
	"errors"
	"slices"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// Points is a source that makes the measurements of a scheduler's groups. It is polled on the main lane; Edge reads
// without making points.
type Points struct {
	t       *Tracker
	s       Selection
	metrics metrics
	series  []*series
	buf     []byte
}

// Selection says of which groups a source makes points, and with which attributes.
type Selection struct {
	// Want tells whether there are to be points of a group.
	Want func(Match) bool
	// Attributes returns the attributes of a group's points. uid is negative while the owner is not known.
	Attributes func(m Match, uid int64) []agent.Attr
	// Keys are the keys of all attributes that may come, in order.
	Keys []string
}

// metrics are the definitions that all schedulers share.
type metrics struct {
	cpuTime, cpuPercent, memory              *agent.Metric
	anonymous, file, kernelStack, pageTables *agent.Metric
}

// series are the points of one group.
type series struct {
	n        *node
	consumer agent.Consumer
	plain    *agent.Attrs // without kind
	total    *agent.Attrs
	system   *agent.Attrs
	user     *agent.Attrs

	at            int64  // Boot of the last points
	cpu, sys, usr uint64 // told with them, ns
	parts         bool   // sys and usr are known
	failed        bool   // a file could not be read; said once
	seen          bool
}

// NewPoints registers the metrics and returns a source of a scheduler's points. The plugin adds it to its setup.
func (t *Tracker) NewPoints(s *agent.Setup, sel Selection) *Points {
	keys := slices.Concat(sel.Keys)
	bytes := agent.Unit{Base: agent.Byte}
	m := func(name, doc string, typ agent.ValueType, u agent.Unit, keys []string) *agent.Metric {
		return s.Metric(agent.Metric{Name: name, Description: doc, Type: typ, Unit: u, Attributes: keys})
	}
	kinds := append(keys[:len(keys):len(keys)], "kind")
	p := &Points{t: t, s: sel, buf: make([]byte, 8192), metrics: metrics{
		cpuTime:     m("cpu_time_delta", "CPU time used by the group since the previous measurement", agent.TypeU64, agent.Unit{Prefix: agent.Nano, Base: agent.Second}, kinds),
		cpuPercent:  m("cpu_percent", "CPU time per elapsed time; 100 is one core fully used", agent.TypeF64, agent.Unit{Base: agent.Percent}, kinds),
		memory:      m("memory_usage", "memory in use by the group", agent.TypeU64, bytes, keys),
		anonymous:   m("cgroup_memory_anonymous", "anonymous memory in use", agent.TypeU64, bytes, keys),
		file:        m("cgroup_memory_file", "memory that caches file data, tmpfs included", agent.TypeU64, bytes, keys),
		kernelStack: m("cgroup_memory_kernel_stack", "memory of kernel stacks", agent.TypeU64, bytes, keys),
		pageTables:  m("cgroup_memory_pagetables", "memory of page tables", agent.TypeU64, bytes, keys),
	}}
	t.sources = append(t.sources, p)
	return p
}

func (p *Points) want(m Match) bool { return m.Role.counts() && p.s.Want(m) }

// arrive begins a group's series. The first points of one that was seen being created tell all that it has used.
func (p *Points) arrive(n *node) {
	if !p.want(n.Match) {
		return
	}
	s := &series{n: n, consumer: agent.Cgroup(n.path)}
	p.attributes(s, n.UID)
	p.series = append(p.series, s)
}

func (p *Points) attributes(s *series, uid int64) {
	list := p.s.Attributes(s.n.Match, uid)
	s.plain = agent.NewAttrs(list...)
	kind := func(k string) *agent.Attrs { return s.plain.With(agent.Attr{Key: "kind", Value: agent.AttrText(k)}) }
	s.total, s.system, s.user = kind("total"), kind("system"), kind("user")
}

// renew gives all groups of a job the owner that has become known.
func (p *Points) renew(u *unit) {
	for _, s := range p.series {
		if s.n.ID == u.id && s.n.UID < 0 {
			p.attributes(s, u.uid)
		}
	}
}

// Poll makes the points of all groups, and the last ones of those that have ended since the last poll.
func (p *Points) Poll(b *agent.Batch, now agent.Instant) error {
	err := p.t.Refresh(now)
	live := p.series[:0]
	for _, s := range p.series {
		if e := p.measure(s, b, now); e != nil && err == nil && !s.failed {
			s.failed, err = true, e
		}
		if !s.n.gone {
			live = append(live, s)
		}
	}
	clear(p.series[len(live):])
	p.series = live
	return err
}

// Edge reads all groups and makes no points.
func (p *Points) Edge(now agent.Instant) error {
	err := p.t.Refresh(now)
	p.forget()
	return err
}

// maxEnded bounds how many ended groups wait for a poll, should the source be paused.
const maxEnded = 10_000

func (p *Points) forget() {
	if len(p.series) <= maxEnded {
		return
	}
	ended := 0
	for _, s := range p.series {
		if s.n.gone {
			ended++
		}
	}
	p.series = slices.DeleteFunc(p.series, func(s *series) bool {
		if !s.n.gone || ended <= maxEnded {
			return false
		}
		ended--
		return true
	})
}

func (p *Points) measure(s *series, b *agent.Batch, now agent.Instant) error {
	n := s.n
	if !s.seen && n.state == usageNone && n.total == 0 && !n.gone {
		return p.measureMemory(s, b, now) // its counter has not appeared yet
	}
	var err error
	usr, sys, parts := s.usr, s.sys, false
	if n.version == V2 {
		usr, sys, parts = n.user, n.system, n.state == usageOpen || n.gone
	} else if n.extra != nil && n.extra.stat != nil {
		usr, sys, parts, err = p.readStat(n.extra)
	}
	if !s.seen && !n.created {
		// Found running: what it used before is not told.
		s.seen, s.at, s.cpu, s.usr, s.sys, s.parts = true, now.Boot, n.total, usr, sys, parts
		return p.measureMemory(s, b, now)
	}
	elapsed := now.Boot - s.at
	if !s.seen {
		elapsed = max(1, agent.BootNs()-n.at)
	}
	if elapsed > 0 {
		p.cpu(s, b, now, s.total, n.total-s.cpu, elapsed)
		if parts && (s.parts || !s.seen) && usr >= s.usr && sys >= s.sys {
			p.cpu(s, b, now, s.system, sys-s.sys, elapsed)
			p.cpu(s, b, now, s.user, usr-s.usr, elapsed)
		}
		s.seen, s.at, s.cpu, s.usr, s.sys, s.parts = true, now.Boot, n.total, usr, sys, parts
	}
	if e := p.measureMemory(s, b, now); e != nil {
		err = e
	}
	return err
}

func (p *Points) cpu(s *series, b *agent.Batch, now agent.Instant, attrs *agent.Attrs, ns uint64, elapsed int64) {
	b.Add(p.metrics.cpuTime, now.Wall, agent.U64(ns), agent.LocalMachine(), s.consumer, attrs)
	b.Add(p.metrics.cpuPercent, now.Wall, agent.F64(float64(ns)/float64(elapsed)*100), agent.LocalMachine(), s.consumer, attrs)
}

// readStat reads cpuacct.stat: two lines, `user` and `system`, in hundredths of a second.
func (p *Points) readStat(f *files) (usr, sys uint64, ok bool, err error) {
	text, err := f.stat.Read(p.buf)
	if err != nil {
		return 0, 0, false, ignoreGone(err)
	}
	usr, okUser := sysfile.KeyUint(text, "user")
	sys, okSystem := sysfile.KeyUint(text, "system")
	return usr * tickNs, sys * tickNs, okUser && okSystem, nil
}

// ignoreGone hides that a group has ended: the watcher tells.
func ignoreGone(err error) error {
	if errors.Is(err, agent.ErrGone) {
		return nil
	}
	return err
}

func (p *Points) measureMemory(s *series, b *agent.Batch, now agent.Instant) error {
	n := s.n
	if n.extra == nil || n.gone {
		return nil
	}
	gauge := func(m *agent.Metric, v uint64) {
		b.Add(m, now.Wall, agent.U64(v), agent.LocalMachine(), s.consumer, s.plain)
	}
	if n.extra.memory != nil {
		v, err := n.extra.memory.Uint(p.buf)
		if err != nil {
			return ignoreGone(err)
		}
		gauge(p.metrics.memory, v)
	}
	if n.extra.memoryAll == nil {
		return nil
	}
	text, err := n.extra.memoryAll.Read(p.buf)
	if err != nil {
		return ignoreGone(err)
	}
	keys := [...]string{"anon", "file", "kernel_stack", "pagetables"}
	if n.version == V1 {
		// With all descendants, as on v2. v1 does not tell kernel stacks and page tables apart.
		keys = [...]string{"total_rss", "total_cache", "", ""}
	}
	for i, m := range [...]*agent.Metric{p.metrics.anonymous, p.metrics.file, p.metrics.kernelStack, p.metrics.pageTables} {
		if v, ok := sysfile.KeyUint(text, keys[i]); ok && keys[i] != "" {
			gauge(m, v)
		}
	}
	return nil
}

// JobNumber is the attribute value of a job's name: an integer where it is one.
func JobNumber(name string) agent.AttrValue {
	if v, err := strconv.ParseUint(name, 10, 64); err == nil {
		return agent.AttrUint(v)
	}
	return agent.AttrText(name)
}
