package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// level says what the groups at one depth of a hierarchy are.
type level struct {
	match func(name []byte) bool
	// counted: its CPU time is read.
	counted bool
	// closed: all CPU time of such a group is that of its subgroups, so that
	// what the living ones do not explain was the vanished one's.
	closed bool
	// job and step: the group is billed under the rest of its name after the
	// first "_".
	job, step bool
}

// prefixed matches names with the prefix and something after it.
func prefixed(prefix string) func([]byte) bool {
	return func(name []byte) bool { return len(name) > len(prefix) && string(name[:len(prefix)]) == prefix }
}

// v1Levels are Slurm's groups in the cpuacct hierarchy, of the given nodes or,
// if there are none, of all.
func v1Levels(nodes []string) []level {
	return []level{
		{match: func(name []byte) bool {
			if len(nodes) == 0 {
				return string(name) == "slurm" || prefixed("slurm_")(name)
			}
			return slices.ContainsFunc(nodes, func(n string) bool { return string(name) == "slurm_"+n })
		}, counted: true, closed: true},
		{match: prefixed("uid_"), counted: true, closed: true},
		{match: prefixed("job_"), counted: true, closed: true, job: true},
		{match: prefixed("step_"), counted: true, step: true},
	}
}

// v2Levels are Slurm's groups in the unified hierarchy, of the given nodes or,
// if there are none, of all. The scope also holds slurmd, so a job's last CPU
// time cannot be had from it; the directories outlive the last task by
// milliseconds there, so it seldom has to be.
func v2Levels(nodes []string) []level {
	return []level{
		{match: func(name []byte) bool { return string(name) == "system.slice" }},
		{match: func(name []byte) bool {
			if len(nodes) == 0 {
				return bytes.HasSuffix(name, []byte("slurmstepd.scope"))
			}
			return slices.ContainsFunc(nodes, func(n string) bool { return string(name) == n+"_slurmstepd.scope" })
		}},
		{match: prefixed("job_"), counted: true, closed: true, job: true},
		{match: prefixed("step_"), counted: true, step: true},
	}
}

// hierarchy is one cgroup hierarchy in which Slurm may put jobs.
type hierarchy struct {
	levels    []level
	usageFile string
	parse     func([]byte) (reading, error)
	// cpusets is the root of the hierarchy with the cpusets, "" if there is
	// none; effective is the name of the file that counts when cpuset.cpus is
	// empty.
	cpusets, effective string

	m      *machine
	truth  *truth
	r      *reader
	root   *group
	ticks  uint64
	primed bool // the first tick, which finds what ran before, is over
}

// group is one cgroup. Times of its counter are since the start of the
// simulator, or since the group's beginning if that was later.
type group struct {
	name   string
	depth  int // index of its level; -1 for the root of the hierarchy
	parent *group
	kids   []*group // sorted by name
	lost   []*group // vanished, and their last CPU time is not known yet
	closed bool

	dir, usage int // open files, -1 if none
	links      uint64

	prev    reading // the counter as last read
	counted reading // since the start
	settled reading // the part of counted that was vanished subgroups'
	account *account
	cpus    cpuset
}

// cpuset is the CPUs that a group may use, by package.
type cpuset struct {
	fd, effective int
	n             [maxPackages]uint64
	known         bool
	tries         int
}

const (
	// relist is how many ticks pass until a folder is listed although its
	// link count is what it was: a group may go and come back unseen.
	relist = 20
	// rereadCPUs is how many ticks pass until a known cpuset is read again.
	rereadCPUs = 16
	// newborn is the number of ticks during which a cpuset that is not there
	// is looked for in each: Slurm makes it some ms before or after the counters.
	newborn = 64
)

// open opens the hierarchy's root folder. The caller owns the rest
// of h and calls close in the end.
func (h *hierarchy) open(path string) error {
	fd, err := open(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	h.root = &group{name: path, depth: -1, dir: fd, usage: -1, cpus: cpuset{fd: -1, effective: -1}}
	return nil
}

// close closes all files.
func (h *hierarchy) close() {
	if h.root != nil {
		h.root.close()
	}
}

// tick reads all groups. The ns since the last tick are billed as existence
// to every job and step that is there now: up to one interval too much at its
// beginning, up to one too little at its end.
func (h *hierarchy) tick(ns uint64) error {
	err := h.visit(h.root, ns)
	h.ticks++
	h.primed = true
	return err
}

// visit reads g and all below it, children before parents, so that what a
// parent counts is never less than its children. It returns errVanished if
// the group is gone; what was lost below it then waits in g.lost.
func (h *hierarchy) visit(g *group, ns uint64) error {
	links, err := h.r.links(g.dir)
	if err != nil {
		return err
	}
	if g.depth+1 < len(h.levels) && (links != g.links || (h.ticks%relist) == 0) {
		g.links = links
		if err := h.discover(g); err != nil {
			return err
		}
	}
	if g.account != nil {
		h.readCPUs(g) // before the steps', which may inherit it
	}
	for i := 0; i < len(g.kids); {
		kid := g.kids[i]
		err := h.visit(kid, ns)
		if errors.Is(err, errVanished) {
			g.kids = slices.Delete(g.kids, i, i+1)
			g.lost = append(g.lost, kid)
			g.links = 0 // a group of that name may be there anew
			kid.bury()
			continue
		}
		if err != nil {
			return err
		}
		i++
	}
	// Groups above the jobs are read when something vanished from them, and
	// while they are empty, as only a read shows that they have vanished too.
	if g.usage >= 0 && (g.account != nil || len(g.kids) == 0) {
		if err := h.read(g); err != nil {
			return err
		}
	}
	if g.account != nil {
		g.account.hold(ns, g.cpus.n)
	}
	return h.settle(g)
}

// discover lists g and opens the groups in it that are new.
func (h *hierarchy) discover(g *group) error {
	var found []string
	err := h.r.subdirs(g.dir, func(name []byte) {
		if !h.levels[g.depth+1].match(name) {
			g.closed = false // something in it is not billed, so its rest may be nobody's
			return
		}
		if _, known := slices.BinarySearchFunc(g.kids, name, func(k *group, name []byte) int {
			return strings.Compare(k.name, string(name))
		}); !known {
			found = append(found, string(name))
		}
	})
	if err != nil {
		return err
	}
	for _, name := range found {
		if err := h.add(g, name); err != nil {
			return err
		}
	}
	return nil
}

// add opens a group that is new in g. If it has gone again already it joins
// the lost ones: it may have used CPU time in its short life.
func (h *hierarchy) add(g *group, name string) error {
	l := h.levels[g.depth+1]
	kid := &group{name: name, depth: g.depth + 1, parent: g, closed: l.closed,
		dir: -1, usage: -1, cpus: cpuset{fd: -1, effective: -1}}
	_, id, _ := strings.Cut(name, "_")
	switch {
	case l.job:
		kid.account = h.truth.job(id)
	case l.step:
		kid.account = g.account.step(id)
	}
	err := h.openGroup(kid, l)
	if errors.Is(err, errVanished) {
		kid.close()
		g.lost = append(g.lost, kid)
		return nil
	}
	if err != nil {
		kid.close()
		return err
	}
	i, _ := slices.BinarySearchFunc(g.kids, name, func(k *group, name string) int { return strings.Compare(k.name, name) })
	g.kids = slices.Insert(g.kids, i, kid)
	return nil
}

// openGroup opens the files of g. The counter of a group that existed before
// the first tick is taken as its zero.
func (h *hierarchy) openGroup(g *group, l level) (err error) {
	if g.dir, err = open(g.parent.dir, g.name, unix.O_DIRECTORY); err != nil {
		return err
	}
	if !l.counted {
		return nil
	}
	if g.usage, err = open(g.dir, h.usageFile, 0); err != nil {
		return err
	}
	if !h.primed {
		g.prev, err = h.counter(g)
	}
	return err
}

// counter reads g's counter.
func (h *hierarchy) counter(g *group) (reading, error) {
	b, err := h.r.file(g.usage)
	if err != nil {
		return reading{}, err
	}
	return h.parse(b)
}

// read reads g's counter and bills what is new.
func (h *hierarchy) read(g *group) error {
	now, err := h.counter(g)
	if err != nil {
		return err
	}
	g.bill(now.since(g.prev))
	g.prev = now
	return nil
}

// bill adds CPU time to g.
func (g *group) bill(used reading) {
	g.counted = g.counted.plus(used)
	if g.account != nil {
		g.account.used = g.account.used.plus(used)
	}
}

// settle finds the last CPU time of the groups that vanished from g, if g's
// own counter tells. That counter and those of the living groups are not read
// at one moment; so they must stand still around its reading, and no group
// may have joined them meanwhile, else the next tick tries again.
func (h *hierarchy) settle(g *group) error {
	if len(g.lost) == 0 {
		return nil
	}
	if !g.closed {
		h.share(g)
		return nil
	}
	living, err := h.readKids(g)
	if err != nil {
		return ignoreVanished(err) // the next tick finds out
	}
	if err := h.read(g); err != nil {
		return err
	}
	again, err := h.readKids(g)
	if err != nil || again != living {
		return ignoreVanished(err)
	}
	kids, lost := len(g.kids), len(g.lost)
	if err := h.discover(g); err != nil {
		return err
	}
	if len(g.kids) == kids && len(g.lost) == lost {
		h.share(g)
	}
	return nil
}

// ignoreVanished returns err unless it says that a group has vanished.
func ignoreVanished(err error) error {
	if errors.Is(err, errVanished) {
		return nil
	}
	return err
}

// readKids reads the living groups in g and returns the sum of their time.
func (h *hierarchy) readKids(g *group) (sum reading, err error) {
	for _, kid := range g.kids {
		if err := h.read(kid); err != nil {
			return sum, err
		}
		sum = sum.plus(kid.counted)
	}
	return sum, nil
}

// share gives what g counted and its subgroups do not explain to the group
// that vanished from it. If several have vanished, or g also counts other
// things, nobody gets it. The same then follows for each vanished group.
func (h *hierarchy) share(g *group) {
	rest := g.counted.minus(g.settled)
	for _, kid := range slices.Concat(g.kids, g.lost) {
		rest = rest.minus(kid.counted)
	}
	switch {
	case !g.closed:
	case len(g.lost) == 1:
		g.lost[0].bill(rest)
	default:
		g.settled = g.settled.plus(rest)
		if g.account == nil { // else the job has it
			h.truth.unassigned = h.truth.unassigned.plus(rest)
		}
	}
	for _, kid := range g.lost {
		g.settled = g.settled.plus(kid.counted)
		if len(kid.lost) > 0 {
			h.share(kid)
		}
	}
	g.lost = nil
}

// readCPUs reads g's cpuset now and then. Without one it has its parent's;
// a job without one may use all CPUs.
func (h *hierarchy) readCPUs(g *group) {
	c := &g.cpus
	if (c.known || c.tries > newborn) && h.ticks%rereadCPUs != 0 {
		return
	}
	c.tries++
	if n, ok := h.cpuList(g); ok {
		c.n, c.known = n, true
		return
	}
	switch {
	case c.known: // Slurm removes the cpuset before the counters: the last one holds
	case g.parent.account != nil:
		c.n = g.parent.cpus.n
	default:
		c.n = h.m.all()
	}
}

// cpuList returns the CPUs in g's cpuset, opening its files on first need.
func (h *hierarchy) cpuList(g *group) (n [maxPackages]uint64, ok bool) {
	if h.cpusets == "" {
		return n, false
	}
	c := &g.cpus
	for _, f := range []struct {
		fd   *int
		name string
	}{{&c.fd, "cpuset.cpus"}, {&c.effective, h.effective}} {
		if *f.fd < 0 {
			fd, err := open(unix.AT_FDCWD, filepath.Join(h.cpusets, g.path(), f.name), 0)
			if err != nil {
				return n, false
			}
			*f.fd = fd
		}
		b, err := h.r.file(*f.fd)
		if err != nil {
			return n, false
		}
		if list := strings.TrimSpace(string(b)); list != "" {
			n, err := h.m.count(list)
			return n, err == nil
		}
	}
	return n, false
}

// path returns g's path below the root of its hierarchy.
func (g *group) path() string {
	if g.parent == nil {
		return ""
	}
	return filepath.Join(g.parent.path(), g.name)
}

// bury closes what has vanished: g and all below it, which are now lost to
// their parents.
func (g *group) bury() {
	g.close()
	for _, kid := range g.kids {
		kid.bury()
	}
	g.lost = append(g.lost, g.kids...)
	g.kids = nil
}

// close closes the files of g and of all below it.
func (g *group) close() {
	for _, fd := range []*int{&g.dir, &g.usage, &g.cpus.fd, &g.cpus.effective} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	for _, kid := range g.kids {
		kid.close()
	}
}
