package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"golang.org/x/sys/unix"
)

// scan looks at everything that can hold jobs. What is new is reported as seen being created, except at the first scan.
func (w *watcher) scan() {
	w.round++
	for i := range w.hs {
		h := &w.hs[i]
		if !h.holdsJobs() {
			continue
		}
		if d := w.dirs[h.Path]; d != nil {
			w.descend(d)
			continue
		}
		m := w.match("/", h.Version, nil)
		ino, _, err := inode(h.Path)
		if m.Role == Ignore || err != nil {
			continue
		}
		d := &dir{Match: m, h: h, path: h.Path, ino: ino}
		w.dirs[d.path] = d
		w.descend(d)
	}
	w.sweep()
}

// sweep drops the directories that the scan has not seen, children first.
func (w *watcher) sweep() {
	for _, d := range w.dirs {
		if d.round != w.round && (d.up == nil || d.up.round == w.round) {
			w.drop(d)
		}
	}
}

// descend watches a directory and then looks at what is in it. In this order nothing can appear unseen; what appears in
// between is seen twice.
func (w *watcher) descend(d *dir) {
	d.round = w.round
	if d.h.Version == V2 && d.node != nil && (d.Role == Job || d.Role == Step) && !d.events {
		// The kernel reports changes of this file only when somebody watches or holds it, not by the directory's watch alone.
		d.events = w.add(d.path + eventsFile)
	}
	if d.Leaf {
		return
	}
	if !d.watched {
		d.watched = w.add(d.path)
	}
	if d.node != nil {
		w.lookCPUs(d)
	}
	_, subs, err := inode(d.path)
	if err != nil || subs == 0 {
		return
	}
	w.list(d, false)
}

// list visits what is in a directory. reported means that what is known already is not to be looked into again.
func (w *watcher) list(d *dir, reported bool) {
	list, err := os.ReadDir(d.path)
	if err != nil {
		w.keep(d, err)
		return
	}
	for _, e := range list {
		if e.IsDir() {
			w.visit(d, d.path+"/"+e.Name(), reported)
		}
	}
}

// keep lets what is known below a directory stand that could not be listed: it is not gone because the agent has run out of
// descriptors, for example.
func (w *watcher) keep(d *dir, err error) {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return
	}
	w.log.Error("cannot list a control group: jobs below it may be missed", "path", d.path, "err", err)
	for _, s := range d.subs {
		w.stand(s)
	}
}

func (w *watcher) stand(d *dir) {
	d.round = w.round
	for _, s := range d.subs {
		w.stand(s)
	}
}

// visit looks at a directory that was reported or found below up.
func (w *watcher) visit(up *dir, path string, reported bool) {
	m := w.match(relative(up.h, path), up.h.Version, up)
	if m.Role == Ignore {
		return
	}
	ino, _, err := inode(path)
	d := w.dirs[path]
	if d != nil {
		if err == nil && d.ino == ino {
			if !reported {
				w.descend(d)
			}
			return
		}
		w.drop(d)
	}
	d = &dir{Match: m, h: up.h, path: path, ino: ino, up: up}
	if err != nil {
		if reported && !m.Unresolved {
			// Made and removed at once. What it used is in its parent's counter.
			w.enter(d)
			w.leave(d)
		}
		return
	}
	if m.Unresolved && !w.resolve(d) {
		w.unnamed[d]++
		return
	}
	w.settle(d)
}

// settle takes a directory whose match is complete into what is known.
func (w *watcher) settle(d *dir) {
	w.dirs[d.path] = d
	d.up.subs = append(d.up.subs, d)
	w.enter(d)
	w.descend(d)
}

// match asks all matchers. A step belongs to the job whose group it is in, also where paths do not tell.
func (w *watcher) match(path string, v Version, up *dir) Match {
	var m Match
	for i, x := range w.matchers {
		if a := x.Match(path, v); a.Role > m.Role {
			m = a
			m.by = i
		}
	}
	if up != nil && up.Role >= Job && m.Role >= Job {
		m.ID, m.Unresolved = up.ID, false
	}
	return m
}

func (w *watcher) resolve(d *dir) bool {
	for _, x := range w.matchers {
		r, ok := x.(Resolver)
		if !ok || x.Match(d.rel(), d.h.Version).Role != d.Role {
			continue
		}
		if m, ok := r.Resolve(w.proc, d.path, d.Match); ok {
			m.Unresolved, m.by = false, d.by
			d.Match = m
			return true
		}
	}
	return false
}

// maxAsked bounds how often a group without a known job is asked for, a millisecond apart; after that only by scans.
const maxAsked = 2000

// askAgain asks for the jobs of groups that had none yet.
func (w *watcher) askAgain() {
	for d, n := range w.unnamed {
		ino, _, err := inode(d.path)
		switch {
		case err != nil || ino != d.ino || w.dirs[d.path] != nil || w.dirs[d.up.path] != d.up:
			delete(w.unnamed, d)
		case w.resolve(d):
			delete(w.unnamed, d)
			w.settle(d)
		case n >= maxAsked:
			delete(w.unnamed, d)
			w.log.Warn("a job's group does not tell which job it is: what it uses is counted as vanished", "path", d.path)
		default:
			w.unnamed[d] = n + 1
		}
	}
}

// enter reports a directory whose group counts: a node when it is the first of its group, and its files.
func (w *watcher) enter(d *dir) {
	if !d.Role.counts() {
		return
	}
	key := nodeKey{d.h.Version, strings.Clone(d.rel())}
	n := w.nodes[key]
	if n == nil {
		n = &node{Match: d.Match, path: key.path, version: key.version, created: !w.first, at: bootNow()}
		if up := w.nodes[nodeKey{key.version, filepath.Dir(key.path)}]; up != nil {
			n.up, n.depth = up, up.depth+1
		}
		w.nodes[key] = n
		w.queue.put(event{kind: newNode, n: n})
		w.describe(n)
	}
	n.dirs++
	d.node = n
	if w.openUsage(d) && (n.Role == Job || n.Role == Step) && !w.first {
		w.edge()
	}
	if w.points(n.Match) {
		w.openFiles(d)
	}
}

// openUsage opens the CPU counter of a directory, where it has one.
func (w *watcher) openUsage(d *dir) bool {
	name := d.h.usageFile()
	if name == "" {
		return false
	}
	f, err := sysfile.Open(d.path + "/" + name)
	w.queue.put(event{kind: newUsage, n: d.node, file: f, ino: d.ino, err: err})
	return true
}

// openFiles opens what points need beside the CPU counter. A file that is not there is a metric less.
func (w *watcher) openFiles(d *dir) {
	var f files
	if d.h.Version == V2 {
		f.memory, _ = sysfile.Open(d.path + "/memory.current")
		if f.memory != nil {
			f.memoryAll, _ = sysfile.Open(d.path + "/memory.stat")
		}
	} else {
		if d.h.Has("cpuacct") {
			f.stat, _ = sysfile.Open(d.path + "/cpuacct.stat")
		}
		if d.h.Has("memory") {
			f.memory, _ = sysfile.Open(d.path + "/memory.usage_in_bytes")
			f.memoryAll, _ = sysfile.Open(d.path + "/memory.stat")
		}
	}
	if f != (files{}) {
		w.queue.put(event{kind: newFiles, n: d.node, files: f})
	}
}

// lookCPUs reads the CPUs that a job's group may use.
func (w *watcher) lookCPUs(d *dir) {
	if d.Role != Job || !d.h.Has("cpuset") {
		return
	}
	names := [...]string{"/cpuset.cpus", "/cpuset.effective_cpus"}
	if d.h.Version == V2 {
		names = [...]string{"/cpuset.cpus.effective", "/cpuset.cpus"}
	}
	for _, name := range names {
		text, err := sysfile.ReadText(d.path + name)
		if err != nil {
			continue
		}
		if cpus, err := sysfile.ParseCPUList(text); err == nil && len(cpus) > 0 {
			w.queue.put(event{kind: newCPUs, n: d.node, cpus: cpus})
			return
		}
	}
}

// drop forgets a directory and all below it, and reports that they are gone.
func (w *watcher) drop(d *dir) {
	for _, s := range d.subs {
		s.up = nil
		w.drop(s)
	}
	d.subs = nil
	if up := d.up; up != nil {
		for i, s := range up.subs {
			if s == d {
				up.subs[i] = up.subs[len(up.subs)-1]
				up.subs[len(up.subs)-1] = nil
				up.subs = up.subs[:len(up.subs)-1]
				break
			}
		}
	}
	// The kernel removes watches by itself, but only when the last open file below is closed. Until then they would count.
	if d.watched {
		_ = w.fs.Remove(d.path)
	}
	if d.events {
		_ = w.fs.Remove(d.path + eventsFile)
	}
	delete(w.dirs, d.path)
	w.leave(d)
}

// leave reports that a directory is gone.
func (w *watcher) leave(d *dir) {
	n := d.node
	if n == nil {
		return
	}
	if d.h.usageFile() != "" {
		w.queue.put(event{kind: lostUsage, n: n})
	}
	if n.dirs--; n.dirs == 0 {
		w.queue.put(event{kind: lostNode, n: n})
		delete(w.nodes, nodeKey{n.version, n.path})
	}
	if n.Role == Job || n.Role == Step {
		w.edge()
	}
}
