package procfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"golang.org/x/sys/unix"
)

// The kinds of memory of a process, as places in watcher.memKinds.
const (
	memResident = iota
	memShared
	memVirtual
	memProportional
)

// watcher finds new processes and gives them to the first group that they match.
type watcher struct {
	root   string
	log    *slog.Logger
	fd     int
	groups []*group
	known  map[int]*process
	// previous and current are when the last two scans began, in ticks since boot.
	previous, current uint64

	path, entries, buf []byte

	cpuTime, memory *agent.Metric
	cpuKinds        [3]*agent.Attrs
	memKinds        [4]*agent.Attrs
	pageSize        uint64
}

// sizes of the watcher's buffers: no file of a process that is read is longer, and a page of folder entries is usual.
const (
	fileBuf = 4096
	dirBuf  = 16384
)

func newWatcher(s *agent.Setup, configs []GroupConfig) (*watcher, error) {
	fd, err := unix.Open(s.Proc, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", agent.ErrNotSupported, s.Proc, err)
	}
	w := &watcher{root: s.Proc, log: s.Log, fd: fd, known: map[int]*process{}, entries: make([]byte, dirBuf), buf: make([]byte, fileBuf),
		pageSize: uint64(os.Getpagesize())}
	w.cpuTime = s.Metric(agent.Metric{Name: "cpu_time_delta", Description: "CPU time",
		Unit: agent.Unit{Prefix: agent.Nano, Base: agent.Second}, Attributes: []string{"kind"}})
	w.memory = s.Metric(agent.Metric{Name: "memory_usage", Description: "Memory usage",
		Unit: agent.Unit{Base: agent.Byte}, Attributes: []string{"kind"}})
	for i, k := range [...]string{"user", "system", "guest"} {
		w.cpuKinds[i] = agent.NewAttrs(agent.Attr{Key: "kind", Value: agent.AttrText(k)})
	}
	for i, k := range [...]string{"resident", "shared", "virtual", "proportional"} {
		w.memKinds[i] = agent.NewAttrs(agent.Attr{Key: "kind", Value: agent.AttrText(k)})
	}
	for _, c := range configs {
		g := &group{watcher: w, config: c, slow: c.MemoryMode == memorySlow}
		if c.ExeRegex != "" {
			if g.exe, err = regexp.Compile(c.ExeRegex); err != nil {
				return nil, err
			}
		}
		w.groups = append(w.groups, g)
	}
	return w, nil
}

func (w *watcher) close() error { return unix.Close(w.fd) }

// Poll implements [agent.Source]. It makes no points: it looks for new processes. Those that matched no group before are
// looked at again, because a process changes its executable and its parent.
func (w *watcher) Poll(*agent.Batch, agent.Instant) error {
	if _, err := unix.Seek(w.fd, 0, unix.SEEK_SET); err != nil {
		return fmt.Errorf("read %s: %w", w.root, err)
	}
	w.previous, w.current = w.current, uint64(agent.BootNs()/sysfile.TickNs)
	for {
		n, err := unix.ReadDirent(w.fd, w.entries)
		if err != nil {
			return fmt.Errorf("read %s: %w", w.root, err)
		}
		if n == 0 {
			return nil
		}
		for rest := w.entries[:n]; len(rest) > 0; {
			var name []byte
			if name, rest = cutEntry(rest); name == nil {
				break
			}
			if pid, ok := sysfile.ParseUint(name); ok && pid > 0 && pid < 1<<31 {
				w.look(int(pid))
			}
		}
	}
}

// look finds out whether a process is new and belongs to a group.
func (w *watcher) look(pid int) {
	if w.known[pid] != nil {
		return
	}
	w.path = append(append(w.path[:0], w.root...), '/')
	w.path = append(strconv.AppendInt(w.path, int64(pid), 10), "/stat\x00"...)
	data, err := sysfile.ReadPath(w.path, w.buf)
	if err != nil {
		return // it has ended meanwhile, or may not be seen
	}
	s, ok := parseProcessStat(data)
	if !ok {
		return
	}
	for _, g := range w.groups {
		if g.matches(w.root, pid, s) {
			p := newProcess(w.root, pid, s, w.previous > 0 && s.start >= w.previous)
			w.known[pid] = p
			g.list = append(g.list, p)
			return
		}
	}
}

// forget drops a process that has ended.
func (w *watcher) forget(p *process) {
	if w.known[p.pid] == p {
		delete(w.known, p.pid)
	}
}

// cutEntry takes the first entry off what the system call getdents64 has given: an inode number, an offset, the length of the
// entry, a type, and the name with NUL bytes behind it. name is nil when the rest is no entry.
func cutEntry(b []byte) (name, rest []byte) {
	const lengthAt, nameAt = 16, 19
	if len(b) < nameAt {
		return nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b[lengthAt:]))
	if n < nameAt || n > len(b) {
		return nil, nil
	}
	name, _, _ = bytes.Cut(b[nameAt:n], []byte{0})
	return name, b[n:]
}
