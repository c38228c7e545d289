package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
	"golang.org/x/sys/unix"
)

// Group is a control group for one program, below the group that the agent is in: limits of a job that the agent runs in
// hold for the program, too.
type Group struct {
	h     cgroups.Hierarchy
	dir   string // in the file system
	usage *sysfile.File
	buf   [4096]byte
}

// NewGroup makes a group in the hierarchy that counts CPU time best: v1's cpuacct counts nanoseconds, v2 microseconds. The
// error wraps [agent.ErrNotSupported] when none can be made, usually for want of rights.
func NewGroup(proc string) (*Group, error) {
	hs, err := cgroups.Find(proc)
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return nil, fmt.Errorf("%w: find the agent's own control group: %w", agent.ErrNotSupported, err)
	}
	var errs []error
	for _, want := range []cgroups.Version{cgroups.V1, cgroups.V2} {
		for _, h := range hs {
			if h.Version != want || want == cgroups.V1 && !h.Has("cpuacct") {
				continue
			}
			g, err := makeGroup(proc, h, ownPath(string(own), &h))
			if err == nil {
				return g, nil
			}
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no hierarchy counts CPU time"))
	}
	return nil, fmt.Errorf("%w: no control group can be made for the program: %w", agent.ErrNotSupported, errors.Join(errs...))
}

func makeGroup(proc string, h cgroups.Hierarchy, parent string) (*Group, error) {
	g := &Group{h: h}
	removeLeft(proc, filepath.Join(h.Path, parent))
	name := groupPrefix + strconv.Itoa(os.Getpid())
	for i := range 100 {
		g.dir = filepath.Join(h.Path, parent, name)
		if i > 0 {
			g.dir += "_" + strconv.Itoa(i)
		}
		err := os.Mkdir(g.dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		file := "cpuacct.usage"
		if h.Version == cgroups.V2 {
			file = "cpu.stat"
		}
		if g.usage, err = sysfile.Open(filepath.Join(g.dir, file)); err != nil {
			return nil, errors.Join(err, os.Remove(g.dir))
		}
		return g, nil
	}
	return nil, fmt.Errorf("make %s: too many groups of that name are left", g.dir)
}

// ownPath finds the path of a process below the mount point of a hierarchy, from the text of /proc/PID/cgroup: lines of
// `NUMBER:CONTROLLERS:PATH`, where v2 has number 0 and no controllers.
func ownPath(text string, h *cgroups.Hierarchy) string {
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		mine := controllers == "" && h.Version == cgroups.V2
		for c := range strings.SplitSeq(controllers, ",") {
			mine = mine || h.Version == cgroups.V1 && c == "cpuacct"
		}
		if !mine {
			continue
		}
		// Where the mount shows only a part of the tree, the path begins with that part.
		if rel, ok := strings.CutPrefix(path, h.Root); ok && h.Root != "/" {
			return rel
		}
		return path
	}
	return "/"
}

// Path is the group's path below the mount point.
func (g *Group) Path() string { return strings.TrimPrefix(g.dir, g.h.Path) }

// Start calls start, which starts a program with attr, so that the program is in the group from its first instruction on.
func (g *Group) Start(attr *syscall.SysProcAttr, start func() error) error {
	if g.h.Version == cgroups.V2 {
		dir, err := os.Open(g.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		return start()
	}
	// A v1 group can hold a single thread, and a child begins in the group of the thread that makes it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := []byte(strconv.Itoa(unix.Gettid()))
	if err := os.WriteFile(filepath.Join(g.dir, "tasks"), tid, 0); err != nil {
		return err
	}
	err := start()
	return errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(g.dir), "tasks"), tid, 0))
}

// Usage reads the group's CPU time in ns.
func (g *Group) Usage() (uint64, error) {
	b, err := g.usage.Read(g.buf[:])
	if err != nil {
		return 0, err
	}
	if g.h.Version == cgroups.V1 {
		return sysfile.Uint(b)
	}
	v, ok := sysfile.KeyUint(b, "usage_usec")
	if !ok {
		return 0, fmt.Errorf("read %s: no usage_usec", g.usage.Path())
	}
	return v * 1000, nil
}

// Close removes the group. What still runs in it, in the background, goes on in the group above.
func (g *Group) Close() error {
	err := g.usage.Close()
	deadline := time.Now().Add(time.Second)
	for {
		g.evacuate()
		rm := unix.Rmdir(g.dir)
		if rm == nil || rm == unix.ENOENT {
			return err
		}
		if time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("remove %s: %w", g.dir, rm))
		}
		time.Sleep(time.Millisecond)
	}
}

func (g *Group) evacuate() {
	text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for pid := range strings.FieldsSeq(string(text)) {
		// A process that has ended meanwhile needs no move.
		_ = os.WriteFile(filepath.Join(filepath.Dir(g.dir), "cgroup.procs"), []byte(pid), 0)
	}
}
