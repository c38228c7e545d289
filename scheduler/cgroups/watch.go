package cgroups

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// pollInterval is how often everything is scanned when no more watches are to be had.
const pollInterval = time.Second

// watcher knows the directories that matter and reports what comes and goes. Its goroutine handles the kernel's events; the
// main lane may have it look at single groups at once, by look.
type watcher struct {
	mu       sync.Mutex // held while what is known changes
	log      *slog.Logger
	proc     string
	hs       []Hierarchy
	matchers []Matcher
	points   func(Match) bool // whether points are wanted of a group
	queue    *queue
	edge     func()
	describe func(*node) // asks for the facts of a job
	refresh  time.Duration

	fs      *fsnotify.Watcher // nil: polling
	dirs    map[string]*dir   // by full path
	nodes   map[nodeKey]*node
	unnamed map[*dir]int // groups whose job is not known yet, and how often it was asked for
	round   uint64       // of the scan in progress
	first   bool         // the first scan is still to be completed
	said    bool         // that there are too few watches

	hurry chan struct{} // scans are to be made more often from now on
	stop  chan struct{}
	done  chan struct{}
}

// nodeKey identifies the present life of a group over the hierarchies of one version.
type nodeKey struct {
	version Version
	path    string
}

// dir is a directory of a hierarchy that is watched or whose group counts.
type dir struct {
	Match
	h       *Hierarchy
	path    string // full
	ino     uint64
	up      *dir
	subs    []*dir
	node    *node
	watched bool
	events  bool   // its cgroup.events is watched
	round   uint64 // of the last scan that saw it
}

// rel is the path below the mount point.
func (d *dir) rel() string { return relative(d.h, d.path) }

func relative(h *Hierarchy, path string) string {
	if len(path) <= len(h.Path) {
		return "/"
	}
	return path[len(h.Path):]
}

// start makes the first scan and begins to watch.
func (w *watcher) start() {
	w.dirs, w.nodes, w.unnamed = map[string]*dir{}, map[nodeKey]*node{}, map[*dir]int{}
	w.stop, w.done, w.hurry, w.first = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1), true
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		w.poll(err)
	}
	w.fs = fs
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scan()
	w.first = false
	w.queue.put(event{kind: scanned})
	go w.run()
}

// close stops the goroutine.
func (w *watcher) close() error {
	close(w.stop)
	<-w.done
	if w.fs == nil {
		return nil
	}
	return w.fs.Close()
}

func (w *watcher) run() {
	defer close(w.done)
	var events chan fsnotify.Event
	var errs chan error
	if w.fs != nil {
		events, errs = w.fs.Events, w.fs.Errors
	}
	rescan := time.NewTimer(w.interval())
	defer rescan.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-w.stop:
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			w.locked(func() { w.handle(e) })
		case err := <-errs:
			w.locked(func() { w.fail(err) })
		case <-w.hurry:
			rescan.Reset(pollInterval)
		case <-rescan.C:
			w.locked(w.scan)
			rescan.Reset(w.interval())
		case <-retry.C:
			w.locked(w.askAgain)
		}
		if w.waiting() {
			retry.Reset(time.Millisecond)
		}
	}
}

func (w *watcher) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *watcher) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.unnamed) > 0
}

// look makes sure that all groups in a group are known that are in it now. Events may lag behind by milliseconds on a busy
// machine, and what an unknown child has used would be taken for that of one that has just ended. ended are those that are
// known to be gone, though their events may still be to come.
func (w *watcher) look(n *node, ended []*node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.hs {
		h := &w.hs[i]
		if h.Version != n.version || h.usageFile() == "" {
			continue
		}
		d := w.dirs[h.Path+n.path]
		if d == nil || d.node != n {
			continue
		}
		known := len(d.subs)
		for _, e := range ended {
			if o := w.dirs[h.Path+e.path]; e.up == n && o != nil && o.node == e {
				known--
			}
		}
		if _, subs, err := inode(d.path); err == nil && subs != known {
			w.list(d, true)
		}
	}
}

func (w *watcher) interval() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said {
		return min(w.refresh, pollInterval)
	}
	return w.refresh
}

// fail handles an error of the kernel's queue. When events were lost only a scan can tell what is there.
func (w *watcher) fail(err error) {
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		w.log.Warn("control groups change faster than they can be followed: scanning all of them", "err", err)
	} else {
		w.log.Warn("watching control groups failed: scanning all of them", "err", err)
	}
	w.scan()
}

// poll says once that watching is not possible; groups are then found by scanning.
func (w *watcher) poll(err error) {
	if w.said {
		return
	}
	w.said = true
	w.hurry <- struct{}{}
	w.log.Error("too few inotify watches or instances: control groups are looked for every second instead, and jobs are seen late; "+
		"raise fs.inotify.max_user_watches and fs.inotify.max_user_instances", "err", err)
}

// eventsFile tells on v2 whether a group has processes.
const eventsFile = "/cgroup.events"

// handle looks at one event of the kernel. Events may be old: the directory's inode number tells whether an event is about
// what is known, about an earlier life of the same path, or about a later one.
func (w *watcher) handle(e fsnotify.Event) {
	switch {
	case e.Has(fsnotify.Create):
		if up := w.dirs[filepath.Dir(e.Name)]; up != nil {
			w.visit(up, e.Name, true)
		}
	case e.Has(fsnotify.Remove):
		w.removed(e.Name)
	case e.Has(fsnotify.Write):
		w.written(e.Name)
	}
}

// removed handles the removal of a directory.
func (w *watcher) removed(path string) {
	d := w.dirs[path]
	if d == nil {
		return
	}
	ino, _, err := inode(path)
	switch {
	case err == nil && ino == d.ino:
		// The scan found the present directory before the events of an earlier one were read.
		if d.node != nil && d.h.usageFile() != "" {
			w.queue.put(event{kind: missed, n: d.node})
			w.edge()
		}
		return
	case err == nil && d.up != nil:
		up := d.up
		w.drop(d)
		w.visit(up, path, true)
	default:
		w.drop(d)
	}
}

// written handles a change of a file in a watched directory. The kernel reports changes of cgroup.events this way, and
// writes of a scheduler to the cpuset.
func (w *watcher) written(path string) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch name {
	case "cgroup.events":
		if d := w.dirs[filepath.Dir(path)]; d != nil && d.node != nil && d.Role >= Job {
			w.lookEmpty(d)
		}
	case "cpuset.cpus":
		if d := w.dirs[filepath.Dir(path)]; d != nil && d.node != nil {
			w.lookCPUs(d)
		}
	}
}

// lookEmpty tells whether a v2 group has processes. When the last one has ended, the counter is read at once: the
// directory may be gone before the main lane gets there.
func (w *watcher) lookEmpty(d *dir) {
	var buf [256]byte
	b, err := readSmall(d.path+eventsFile, buf[:])
	if err != nil {
		return
	}
	if !strings.HasPrefix(string(b), "populated 0") {
		w.queue.put(event{kind: populated, n: d.node})
		return
	}
	var stat [4096]byte
	b, err = readSmall(d.path+"/cpu.stat", stat[:])
	if err != nil {
		return
	}
	if s, ok := parseCPUStat(b); ok {
		w.queue.put(event{kind: emptied, n: d.node, value: s.usage})
		w.edge()
	}
}

// add begins to watch a directory or file, and tells whether it could.
func (w *watcher) add(path string) bool {
	if w.fs == nil {
		return false
	}
	err := w.fs.Add(path)
	switch {
	case err == nil:
		return true
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENOMEM):
		w.poll(err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		// Gone meanwhile: its parent's watch tells.
	default:
		w.log.Warn("cannot watch a control group; it is looked at every "+w.refresh.String(), "path", path, "err", err)
	}
	return false
}

// inode returns the inode number of a directory, which the kernel never gives twice, and how many directories are in it.
func inode(path string) (ino uint64, subs int, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, 0, unix.ENOTDIR
	}
	return st.Ino, int(st.Nlink) - 2, nil
}

// readSmall reads a file that is needed once into buf, in as few system calls as can be.
func readSmall(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return nil, os.NewSyscallError("read", err)
	}
	return buf[:n], nil
}
